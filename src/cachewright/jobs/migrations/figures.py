"""What is shown of a migration that follows its source. Pure."""

import msgspec

from cachewright.model.tasks import Task

INCREMENTAL = "Incremental migration."
"""Name of the step that follows the source."""


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What is shown of a migration that follows its source, as members of the detail of its sub-step."""

    lag_bytes: int
    lag_keys: int
    lag_seconds: float
    offset: int
    source_keys: int
    target_keys: int
    target_kbps: int
    target_ops: int
    ready: int

    @property
    def detail(self) -> str:
        members = msgspec.structs.asdict(self) | {"lag_seconds": round(self.lag_seconds, 2)}
        return "{" + ",".join(f"{name}:{value}" for name, value in members.items()) + "}"

    @classmethod
    def of_detail(cls, detail: str) -> "Figures | None":
        """Return the figures of a detail; None if it has none."""
        members = dict(member.split(":", 1) for member in detail.strip("{}").split(",") if ":" in member)
        try:
            return msgspec.convert({name: members[name] for name in cls.__struct_fields__}, cls, strict=False)
        except (KeyError, msgspec.ValidationError):
            return None


def following_figures(task: Task | None) -> Figures | None:
    """Return the figures of a task that follows its source, or did last."""
    steps = task.steps if task else ()
    details = [sub.detail for step in steps if step.name == INCREMENTAL for sub in step.sub_steps]
    return Figures.of_detail(details[0]) if details else None
