"""Taking members out of a cluster that are not its own.

A node that has forgotten a member does not take it back from what others tell for 60 s (CLUSTER FORGET), so every node
of the instance must forget it before one of them passes it on again.
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
    """:ivar offset: how much of its own primary's stream it has.
    :ivar untouched: it has never copied anything from the foreign primary.
    """

    node: Node
    offset: int
    untouched: bool


async def expel(findings: Findings, access: Access) -> int:
    """Has each node forget the members that it is to forget; how many it forgot. Repeat it until there are none."""
    await _free(findings, access)
    forgotten = await asyncio.gather(*(_forget(node, ids, access) for node, ids in findings.forgetful))
    return sum(forgotten)


async def _forget(node: Node, ids: Sequence[str], access: Access) -> int:
    replies = await _tell(node, access, [("CLUSTER", "FORGET", node_id) for node_id in ids])
    refusals = [reply for reply in replies if isinstance(reply, NodeRefused)]
    if refusals:
        log.warning("node %s does not forget a foreign member: %s", node.id, refusals[0])
    return len(replies) - len(refusals)


async def _free(findings: Findings, access: Access) -> None:
    """Nodes that follow a foreign primary cannot forget it. Where their shard has a primary of its own, they follow
    that one. Otherwise one of them, the one that has most of the shard's data, becomes primary: with its data and the
    slots that were taken where it never copied from the foreign primary, or else empty and without slots."""
    leaderless: dict[int, list[Node]] = {}
    for node, leader in findings.captured:
        if leader is None:
            leaderless.setdefault(node.shard, []).append(node)
        else:
            await _tell(node, access, [("CLUSTER", "REPLICATE", leader.id)])
    for nodes in leaderless.values():
        known = [found for node in nodes if (found := await _captured(node, access))]
        if not known:
            continue
        first = max(known, key=lambda found: (found.untouched, found.offset, found.node.role == "primary"))
        command = ("CLUSTER", "FAILOVER", "TAKEOVER") if first.untouched else ("CLUSTER", "REPLICATE", "NO", "ONE")
        log.error("node %s followed a foreign primary, which may know its secrets now: %s", first.node.id, command[1])
        await _tell(first.node, access, [command])


async def _captured(node: Node, access: Access) -> _Captured | None:
    with suppress(*NODE_GONE, NodeRefused, KeyError, ValueError):
        (reply,) = await request_once(node, access, [("INFO", "replication")], _ANSWER_SECONDS)
        said = fields(reply)
        if said["role"] == "slave":
            untouched = said["master_link_status"] == "down" and said["master_link_down_since_seconds"] == _NEVER
            return _Captured(node, int(said["slave_repl_offset"]), untouched and said["master_sync_in_progress"] == "0")
    return None


async def _tell(node: Node, access: Access, commands: Sequence[Command]) -> list[object]:
    """The replies, refusals among them; none where the node does not answer."""
    try:
        return await request_once(node, access, commands, _ANSWER_SECONDS, keep_refusals=True)
    except (*NODE_GONE, NodeRefused) as failure:
        log.warning("node %s does not forget a foreign member: %s", node.id, failure)
        return []
