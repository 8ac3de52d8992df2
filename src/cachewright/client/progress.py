"""Progress of a task as the API reports it, and the parser of a migration's `detail`. Pure."""

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

import msgspec

_MEMBER = re.compile(r"(\w+)\s*:\s*(\[[^\]]*\]|[^,}]*)")
_NUMBERS = re.compile(r"\d+")


class Migration(msgspec.Struct, frozen=True, kw_only=True):
    """One range of slots on the move, from `detail`. Missing numbers are 0. `status` says what it waits for."""

    node_id: str
    first_slot: int
    last_slot: int
    full: str
    increment: str
    keys: int
    keys_planned: int
    bytes: int
    status: str = ""

    @property
    def phase(self) -> str:
        match self.full, self.increment:
            case "finished", "finished":
                return "handed over"
            case "finished", _:
                return "streaming"
            case "in progress", _:
                return "snapshot"
        return self.full

    def __str__(self) -> str:
        where = f"slots {self.first_slot}-{self.last_slot} of {self.node_id[:6]}"
        waiting = f"; {self.status}" if self.status else ""
        moved = f"{self.keys:,}/{self.keys_planned:,} keys, {self.bytes / 2**20:.1f} MB"
        return f"{where}: {self.phase}, {moved}{waiting}"


class Wait(msgspec.Struct, frozen=True):
    """A present wait. `cause` is `paused` in a paused task."""

    since: datetime | None
    cause: str


class SubStep(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    status: str
    begin: datetime | None = None
    end: datetime | None = None
    detail: str = ""
    error_code: str = ""

    @property
    def migration(self) -> Migration | None:
        return parse_detail(self.detail)

    @property
    def state(self) -> str:
        """The migration, or what another sub-step waits for; empty if neither is known."""
        return str(self.migration or "") or dict(_MEMBER.findall(self.detail)).get("status", "")


class Step(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    status: str
    begin: datetime | None = None
    end: datetime | None = None
    error_code: str = ""
    sub_steps: tuple[SubStep, ...] = ()


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """:ivar low: seconds in which 10 % of such tasks end; :ivar high: in which 90 % do. None if they are not known.
    :ivar waits: present waits, one for each cause.
    :ivar effort: effort of the task as known now, as a multiple of the planned one.
    """

    percent: int
    remaining: int | None
    low: float | None = None
    high: float | None = None
    heartbeat: datetime | None = None
    waits: tuple[Wait, ...] = ()
    effort: float = 1.0
    steps: tuple[Step, ...] = ()

    def sub_steps(self) -> Iterator[SubStep]:
        for step in self.steps:
            yield from step.sub_steps


class Moved(msgspec.Struct, frozen=True, kw_only=True):
    """Totals of all ranges of a task. `seconds` runs from the begin of the first range to the end of the last."""

    ranges: int
    keys: int
    bytes: int
    seconds: float

    @property
    def keys_per_second(self) -> float:
        return self.keys / self.seconds if self.seconds else 0.0


def parse_detail(text: str) -> Migration | None:
    """Parse `{node_id:…,slot_range:[0 5460],full_migration:in progress,…}` (not JSON); None for any other text."""
    members = {name: value.strip() for name, value in _MEMBER.findall(text)}
    slots = _integers(members, "slot_range")
    if not slots:
        return None
    keys = _integers(members, "keys") or [0]
    return Migration(
        node_id=members.get("node_id", ""),
        first_slot=slots[0],
        last_slot=slots[-1],
        full=members.get("full_migration", ""),
        increment=members.get("inc_migration", ""),
        keys=keys[0],
        keys_planned=keys[-1],
        bytes=(_integers(members, "bytes") or [0])[0],
        status=members.get("status", ""),
    )


def parse_time(text: str | None) -> datetime | None:
    """Parse a time with a zone; None if missing or malformed."""
    try:
        moment = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return moment if moment.tzinfo else None


def read_waits(items: Iterable[Mapping[str, Any]]) -> tuple[Wait, ...]:
    """Read the member `waiting` of a task. Return one wait for each cause, that of the sub-step that waits longest."""
    earliest: dict[str, str] = {}
    for item in items:
        earliest[item["cause"]] = min(earliest.get(item["cause"], item["since"]), item["since"])
    return tuple(Wait(parse_time(since), cause) for cause, since in earliest.items())


def moved(progress: Progress) -> Moved:
    """Totals of the finished migrations of a task."""
    done = [
        (sub_step, migration)
        for sub_step in progress.sub_steps()
        if sub_step.status == "FINISH" and (migration := sub_step.migration)
    ]
    begins = [sub_step.begin for sub_step, _ in done if sub_step.begin]
    ends = [sub_step.end for sub_step, _ in done if sub_step.end]
    return Moved(
        ranges=len(done),
        keys=sum(migration.keys for _, migration in done),
        bytes=sum(migration.bytes for _, migration in done),
        seconds=(max(ends) - min(begins)).total_seconds() if begins and ends else 0.0,
    )


def _integers(members: Mapping[str, str], name: str) -> list[int]:
    return [int(number) for number in _NUMBERS.findall(members.get(name, ""))]
