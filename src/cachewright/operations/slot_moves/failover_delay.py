"""Keep replicas from replacing a primary that is busy with a large value while slots move.

A node that receives a string of hundreds of megabytes answers nobody for seconds, and other nodes cannot distinguish it
from a dead one. The control plane can: its process runs. See docs/decisions/0043.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

from cachewright.concurrency import end_tasks, gather_limited
from cachewright.hosts.host import Host
from cachewright.model.instances import Node
from cachewright.valkey.access import Access
from cachewright.valkey.client import NODE_GONE, NodeRefused
from cachewright.valkey.config import CLUSTER_NODE_TIMEOUT_MS
from cachewright.valkey.single_request import request_once

log = logging.getLogger(__name__)

LONG_TIMEOUT_MS = 20_000
_SETTING = "cluster-node-timeout"
_CHECK_SECONDS = 0.5
_ANSWER_SECONDS = 1.0
_AT_ONCE = 16


@asynccontextmanager
async def delayed_failover(
    ends: Sequence[Node], nodes: Sequence[Node], access: Access, host: Host
) -> AsyncIterator[None]:
    """Watch the `ends` of a move within the block. While one of them is stalled, the nodes of the instance wait longer
    before they replace it.

    Also reset a longer wait that a server has left behind because it ended within such a block.
    """
    if not _has_replicas(nodes):
        yield
        return
    watch = _Watch(ends, nodes, access, host)
    watching = asyncio.create_task(watch.run())
    try:
        yield
    finally:
        await end_tasks(watching)
        await watch.end()


async def restore(nodes: Sequence[Node], access: Access) -> None:
    """Set the usual wait on all nodes that answer."""
    if _has_replicas(nodes):
        await _set(nodes, access, CLUSTER_NODE_TIMEOUT_MS)


class _Watch:
    def __init__(self, ends: Sequence[Node], nodes: Sequence[Node], access: Access, host: Host) -> None:
        self._ends = ends
        self._nodes = nodes
        self._access = access
        self._host = host
        self._is_long = False
        self._stalled_since: dict[str, float] = {}

    async def run(self) -> None:
        """Check the ends until cancelled."""
        self._is_long = await _is_long(self._ends, self._access)
        while True:
            if self._is_long:
                await self.end()
            elif stalled := await self._stalled(self._ends):
                self._is_long = True
                log.warning(
                    "node %s runs but has not answered for %g s while slots move: replicas wait for up to %g s",
                    stalled[0].id,
                    _ANSWER_SECONDS,
                    LONG_TIMEOUT_MS / 1000,
                )
                await _set(self._nodes, self._access, LONG_TIMEOUT_MS)
            await asyncio.sleep(_CHECK_SECONDS)

    async def end(self) -> None:
        """Set the usual wait again once no node of the instance is stalled, including those of other moves. Nodes that
        stall for longer than the long wait do not count: their replicas replace them anyway."""
        while self._is_long:
            if not await self._stalled(self._nodes):
                await restore(self._nodes, self._access)
                self._is_long = False
                return
            await asyncio.sleep(_CHECK_SECONDS)

    async def _stalled(self, nodes: Sequence[Node]) -> list[Node]:
        """Return the nodes that are stalled, but not for longer than the long wait."""
        stalled = await _stalled(nodes, self._access, self._host)
        for node in nodes:
            if node not in stalled:
                self._stalled_since.pop(node.id, None)
        now = time.monotonic()
        return [node for node in stalled if now - self._stalled_since.setdefault(node.id, now) < LONG_TIMEOUT_MS / 1000]


def _has_replicas(nodes: Sequence[Node]) -> bool:
    """Whether a node can be replaced by another one."""
    return len({node.shard for node in nodes}) < len(nodes)


async def _stalled(nodes: Sequence[Node], access: Access, host: Host) -> list[Node]:
    """Return the nodes whose process runs but does not answer. A process that a signal has suspended does not count."""

    async def is_stalled(node: Node) -> bool:
        try:
            await request_once(node, access, [("PING",)], _ANSWER_SECONDS)
        except TimeoutError:
            return await host.is_running(node.id)
        except (*NODE_GONE, NodeRefused):
            return False
        return False

    verdicts = await gather_limited(is_stalled, nodes, _AT_ONCE)
    return [node for node, verdict in zip(nodes, verdicts, strict=True) if verdict]


async def _is_long(nodes: Sequence[Node], access: Access) -> bool:
    """Whether a node waits longer than usual."""

    async def timeout(node: Node) -> str | None:
        try:
            (pair,) = await request_once(node, access, [("CONFIG", "GET", _SETTING)], _ANSWER_SECONDS)
        except (*NODE_GONE, NodeRefused):
            return None
        return str(pair[1])

    found = await gather_limited(timeout, nodes, _AT_ONCE)
    return any(value not in {None, str(CLUSTER_NODE_TIMEOUT_MS)} for value in found)


async def _set(nodes: Sequence[Node], access: Access, milliseconds: int) -> None:
    async def set_on(node: Node) -> None:
        with suppress(*NODE_GONE, NodeRefused):
            await request_once(node, access, [("CONFIG", "SET", _SETTING, str(milliseconds))], _ANSWER_SECONDS)

    await gather_limited(set_on, nodes, _AT_ONCE)
