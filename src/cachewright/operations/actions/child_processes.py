"""The action that waits until a child process of a node has ended, before slots leave the node.

A node has one child process at a time, and each migration needs one for its snapshot. A plan that finds a background
save, a rewrite of the append-only file or a full synchronization in progress states it as work with a counter, so that
percent and remaining time include it. A child that begins later is a wait of the move (`JobFollower`).
"""

import asyncio
import time
from contextlib import suppress

import msgspec

from cachewright.model.instances import Node
from cachewright.operations.actions.action import action
from cachewright.operations.context import OperationContext
from cachewright.tasks.operation import StepContext
from cachewright.valkey.client import NODE_GONE, NodeRefused, Valkey, connect
from cachewright.valkey.migration.background_child import ChildStatus, child_status

_POLL_SECONDS = 0.2
_REPORT_SECONDS, _REPORT_KEYS = 1.0, 1024
"""A child reports after a second, and only when it has saved a multiple of so many keys (`rdbSaveDb` in Valkey's
rdb.c). With large values a report may take seconds."""

_SILENT_SECONDS = 3.0
"""Time without progress after which the sub-step shows a wait in place of work; more if a report takes longer."""


class WaitForChild(msgspec.Struct, frozen=True):
    """:ivar node_id: id of the node.
    :ivar left: share of its keys that the child had not saved when the plan was made.
    """

    node_id: str
    left: float


@action("wait for a child process", WaitForChild, timeout=7 * 24 * 3600, attempts=6)
async def wait_for_child(context: OperationContext, step: StepContext, arguments: WaitForChild) -> None:
    """Return when the child process has ended, or its node does not answer: the moves of its slots handle that."""
    instance = await context.instance(step.task)
    node = await context.node(instance.id, arguments.node_id)
    if node is not None:
        with suppress(*NODE_GONE, NodeRefused):
            async with connect(node, context.access(instance)) as client:
                await _follow(step, node, client, arguments.left)


async def _follow(step: StepContext, node: Node, client: Valkey, planned_left: float) -> None:
    """Report the progress of the present child until it ends. What it saves until its next report has no counter."""
    first = current = await child_status(node, client)
    if first is None:
        return
    work, scale = step.sub_step.work, first.left / planned_left
    seconds = work.seconds * scale
    report = _share_of_a_report(first, seconds)
    silent_seconds = max(_SILENT_SECONDS, 2 * report * seconds)
    moved_at = time.monotonic()
    while current and _is_same(first, current):
        if first.left:  # else it has saved all keys, and only completes its file
            done = (first.left - current.left) / first.left
            uncounted = min(report, 1.0 - done) * work.total
            detail = f"{{node_id:{node.id},keys:{current.saved}/{current.keys}}}"
            step.measure(done=done * work.total, uncounted=uncounted, detail=detail, scale=scale)
        if time.monotonic() - moved_at > silent_seconds:
            step.begin_wait(str(current), cause=current.cause)
        await asyncio.sleep(_POLL_SECONDS)
        step.raise_if_cancelled()
        before, current = current, await child_status(node, client)
        if current != before:
            moved_at = time.monotonic()
            step.end_wait()


def _share_of_a_report(child: ChildStatus, seconds: float) -> float:
    """Return the share of the keys left to a child that it saves between two reports. Pure.

    :param seconds: expected time for all of them.
    """
    keys = child.left * child.keys
    return min(max(_REPORT_KEYS / keys, _REPORT_SECONDS / seconds), 1.0) if keys and seconds else 1.0


def _is_same(first: ChildStatus, current: ChildStatus) -> bool:
    """Whether no other child process has begun."""
    return (current.cause, current.keys) == (first.cause, first.keys) and current.saved >= first.saved
