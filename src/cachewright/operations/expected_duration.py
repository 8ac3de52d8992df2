"""Expected duration of tasks before they have a plan, learned from finished ones.

An operation declares the duration of its tasks (`Operation.expected_seconds`). Each task that succeeds is a measurement
of the pace of this installation: the ratio of declared to real seconds, stored by kind and migration mode. Waits are
excluded.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from cachewright.clock import now_ms
from cachewright.model.instances import Node
from cachewright.model.tasks import DEFAULT_MODE, Control, MigrationMode, Task
from cachewright.operations.operation import Operation
from cachewright.store import task_controls, throughput
from cachewright.tasks.learning import Speed, updated
from cachewright.tasks.sub_step_times import worked_seconds

_LOW, _HIGH = 0.5, 2.0  # 10th and 90th percentile of a duration before its plan, as a share of the expected one


def estimated(
    connection: sa.Connection,
    operation: Operation[Any, Any],
    task: Task,
    nodes: Sequence[Node],
    *,
    mode: MigrationMode,
    dataset: int,
) -> Task:
    """Return a task that waits with its own remaining seconds, without those of tasks before it. Asks no node.

    A retried task keeps its finished work, so only the rest of it remains.
    """
    pace = throughput.get(connection, _key(operation, mode)) or 1.0
    left = operation.expected_seconds(task, nodes, dataset) / pace * (100 - task.percent) / 100
    return msgspec.structs.replace(
        task,
        remaining_seconds=left,
        remaining_low=left * _LOW,
        remaining_high=left * _HIGH,
        estimated_at=max(now_ms(), task.created_at),
    )


def learn(connection: sa.Connection, operation: Operation[Any, Any], task: Task, nodes: Sequence[Node]) -> None:
    """Learn from a task that has succeeded, unless it was retried or limited."""
    control = task_controls.get(connection, task.id)
    seconds = working_seconds(task)
    if task.attempt or control != Control(mode=control.mode) or not seconds:
        return
    expected, key = operation.expected_seconds(task, nodes, dataset=0), _key(operation, control.mode)
    if expected > 0:
        before = throughput.get(connection, key)
        pace = updated(None if before is None else Speed(before), expected / seconds, seconds)
        throughput.put(connection, key, throughput.Rate(pace.value, pace.deviation))


def working_seconds(task: Task) -> float:
    """Duration of an ended task without its waits, and without pauses between its sub-steps."""
    total = 0.0
    for step in task.steps:
        lanes: dict[str, float] = defaultdict(float)
        for sub_step in step.sub_steps:
            lanes[sub_step.work.lane] += worked_seconds(sub_step, task.end_time or 0)
        total += max(lanes.values(), default=0.0)
    return total


def _key(operation: Operation[Any, Any], mode: MigrationMode) -> str:
    """The key of the learned pace in the store."""
    return f"task: {operation.kind}" + ("" if mode == DEFAULT_MODE else f", {mode}")
