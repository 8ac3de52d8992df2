"""Removes foreign members from a cluster.

After CLUSTER FORGET, a node ignores gossip about the member for 60 s. All nodes of the instance must forget it within
that time, or one of them introduces it again.
"""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress

import msgspec

from cachewright.model.instances import Node
from cachewright.monitoring.cluster_findings import Findings
from cachewright.valkey.access import Access
from cachewright.valkey.client import NODE_GONE, NodeRefused
from cachewright.valkey.single_request import Command, fields, request_once

log = logging.getLogger(__name__)

_ANSWER_SECONDS = 2.0
_NEVER = "-1"


class _Captured(msgspec.Struct, frozen=True):
    """A node that follows a foreign primary.

    :ivar offset: its replication offset.
    :ivar untouched: it has never copied data from the foreign primary.
    """

    node: Node
    offset: int
    untouched: bool


async def expel(findings: Findings, access: Access) -> int:
    """Make nodes forget foreign members; the number forgotten. Repeat until `findings` has none."""
    await _free(findings, access)
    forgotten = await asyncio.gather(*(_forget(node, ids, access) for node, ids in findings.forgetful))
    return sum(forgotten)


async def _forget(node: Node, ids: Sequence[str], access: Access) -> int:
    replies = await _send(node, access, [("CLUSTER", "FORGET", node_id) for node_id in ids])
    refusals = [reply for reply in replies if isinstance(reply, NodeRefused)]
    if refusals:
        log.warning("node %s did not forget a foreign member: %s", node.id, refusals[0])
    return len(replies) - len(refusals)


async def _free(findings: Findings, access: Access) -> None:
    """Detach nodes from foreign primaries, which they cannot forget while they follow them.

    If the shard has its own primary, they follow it. Otherwise the node with most of the shard's data becomes primary:
    with its data and the lost slots if it never copied from the foreign primary, else empty and without slots."""
    leaderless: dict[int, list[Node]] = {}
    for node, leader in findings.captured:
        if leader is None:
            leaderless.setdefault(node.shard, []).append(node)
        else:
            await _send(node, access, [("CLUSTER", "REPLICATE", leader.id)])
    for nodes in leaderless.values():
        captured = [found for node in nodes if (found := await _captured(node, access))]
        if not captured:
            continue
        first = max(captured, key=lambda found: (found.untouched, found.offset, found.node.role == "primary"))
        command = ("CLUSTER", "FAILOVER", "TAKEOVER") if first.untouched else ("CLUSTER", "REPLICATE", "NO", "ONE")
        log.error("node %s followed a foreign primary, which may know its secrets: %s", first.node.id, command[1])
        await _send(first.node, access, [command])


async def _captured(node: Node, access: Access) -> _Captured | None:
    with suppress(*NODE_GONE, NodeRefused, KeyError, ValueError):
        (reply,) = await request_once(node, access, [("INFO", "replication")], _ANSWER_SECONDS)
        replication = fields(reply)
        if replication["role"] == "slave":
            untouched = (
                replication["master_link_status"] == "down" and replication["master_link_down_since_seconds"] == _NEVER
            )
            return _Captured(
                node, int(replication["slave_repl_offset"]), untouched and replication["master_sync_in_progress"] == "0"
            )
    return None


async def _send(node: Node, access: Access, commands: Sequence[Command]) -> list[object]:
    """Replies including errors; empty if the node does not respond."""
    try:
        return await request_once(node, access, commands, _ANSWER_SECONDS, keep_refusals=True)
    except (*NODE_GONE, NodeRefused) as failure:
        log.warning("node %s did not forget a foreign member: %s", node.id, failure)
        return []
