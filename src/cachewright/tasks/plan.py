"""Builds plans: steps and sub-steps with reproducible ids. Pure.

A plan is built when its task starts, and stored with the task. Ids derive from the task's id, so a plan that is built
again after a crash is the same.
"""

import uuid
from collections.abc import Sequence
from typing import Any

import msgspec

from cachewright.model.tasks import MigrationMode, Step, SubStep, Work

_NAMES = uuid.UUID("6f6a2c1e-6f0e-5d7c-9a41-5e0f3c8f9a10")


_UNCOUNTED = "seconds"


class SubStepSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A sub-step without an id."""

    name: str
    action: str
    work: Work
    arguments: dict[str, Any] = {}
    detail: str = ""
    work_in_modes: dict[MigrationMode, Work] = {}


def effort(
    lane: str,
    *,
    seconds: float,
    unit: str = _UNCOUNTED,
    total: float = 1.0,
    fixed: float | None = None,
    latency: float = 0.0,
    turns: int | None = None,
    rate: str = "",
) -> Work:
    """Work of a sub-step. Without a unit, no counter measures it."""
    uncounted = seconds if unit == _UNCOUNTED else 0.0
    return Work(
        unit=unit,
        total=total,
        seconds=seconds,
        fixed=uncounted if fixed is None else fixed,
        latency=latency,
        lane=lane,
        turns=turns,
        rate=rate,
    )


def build(task_id: str, drafts: dict[str, list[SubStepSpec]]) -> tuple[Step, ...]:
    """Build steps in the given order; a step without sub-steps is omitted."""
    return tuple(_step(task_id, name, sub_drafts) for name, sub_drafts in drafts.items() if sub_drafts)


def _step(task_id: str, name: str, drafts: list[SubStepSpec]) -> Step:
    sub_steps = tuple(
        SubStep(
            id=_id(task_id, name, str(position)),
            name=draft.name,
            action=draft.action,
            arguments=draft.arguments,
            work=draft.work,
            work_in_modes=draft.work_in_modes,
            detail=draft.detail,
        )
        for position, draft in enumerate(drafts)
    )
    return Step(id=_id(task_id, name), name=name, sub_steps=sub_steps)


def _id(*parts: str) -> str:
    return str(uuid.uuid5(_NAMES, "/".join(parts)))


def with_planning(steps: tuple[Step, ...], planning_ms: int) -> tuple[Step, ...]:
    """Return a plan with the time that it took to make it."""
    return tuple(
        msgspec.structs.replace(step, planning_ms=0 if position else planning_ms) for position, step in enumerate(steps)
    )


def outline(task_id: str, names: Sequence[str]) -> tuple[Step, ...]:
    """Steps without sub-steps, which show a task before it has a plan."""
    return tuple(Step(id=_id(task_id, name), name=name, sub_steps=()) for name in names)
