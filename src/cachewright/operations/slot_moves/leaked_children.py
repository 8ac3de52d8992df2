"""End snapshot processes of slot migrations that survive their migration.

Valkey forks a process that writes the snapshot of the slots. If a migration fails or is cancelled while that process is
about to end, Valkey does not end it, and starts no other: each later migration, background save and full
synchronization of the node waits forever. See docs/decisions/0037.

A leaked process has the title that Valkey gives to snapshots of slots, and the node has no job that writes a snapshot.
Processes of background saves, rewrites of the append-only file and full synchronizations have other titles.
"""

import asyncio
import logging
import time
from contextlib import suppress

from cachewright.hosts.calls import HostSilent
from cachewright.hosts.host import ChildProcess
from cachewright.model.instances import Node
from cachewright.operations.context import OperationContext
from cachewright.valkey.access import Access
from cachewright.valkey.client import NODE_GONE, NodeRefused
from cachewright.valkey.migration.jobs import jobs_in
from cachewright.valkey.single_request import request_once

log = logging.getLogger(__name__)

LEAKED_SECONDS = 1.0
"""Time after which a process without a job counts as leaked. A process that has written its snapshot ends within
milliseconds."""

_TITLE = "valkey-slot-migration-to-target"
_SNAPSHOTTING = "snapshotting"
_POLL_SECONDS = 0.1
_ANSWER_SECONDS = 2.0
_GRACE_SECONDS = 1.0


async def snapshot_children(context: OperationContext, node: Node) -> list[ChildProcess]:
    """Return the processes of the node that write snapshots of slots."""
    return [child for child in await context.host.children(node.id) if child.title.startswith(_TITLE)]


async def children_without_job(context: OperationContext, node: Node, access: Access) -> list[ChildProcess]:
    """Return the snapshot processes of the node if it has no job that writes a snapshot; none if it does not answer."""
    found = await snapshot_children(context, node)
    if not found:
        return []
    with suppress(*NODE_GONE, NodeRefused):
        (rows,) = await request_once(node, access, [("CLUSTER", "GETSLOTMIGRATIONS")], _ANSWER_SECONDS)
        if all(job.state != _SNAPSHOTTING for job in jobs_in(rows)):
            return found
    return []


async def end_leaked_children(context: OperationContext, node: Node, access: Access) -> None:
    """End leaked processes of a node, after a migration has failed or was cancelled. Ignores a node whose host does not
    report."""
    with suppress(HostSilent):
        suspects = await children_without_job(context, node, access)
        deadline = time.monotonic() + LEAKED_SECONDS
        while suspects and time.monotonic() < deadline:
            await asyncio.sleep(_POLL_SECONDS)
            present = await children_without_job(context, node, access)
            suspects = [child for child in suspects if child in present]
        for child in suspects:
            await end_leaked_child(context, node, child)


async def end_leaked_child(context: OperationContext, node: Node, child: ChildProcess) -> None:
    """End a process that is known to be leaked."""
    log.warning("node %s: snapshot process %d has survived its migration; ending it", node.id, child.pid)
    if await context.host.end_child(node.id, child, _GRACE_SECONDS):
        context.hazards.ended_children += 1
    else:
        log.error("node %s: snapshot process %d does not end", node.id, child.pid)
