"""Settings of a source and a target for the time of a move.

A node checks its migrations `hz` times a second. At the default of 10, writes wait up to a tenth of a second for a
handover. The snapshot of a batch begins with the next tick of another timer, see `_SNAPSHOT_HZ`. A rewrite of the
append-only file in the middle of a move forks the node and holds up the migration. It stays off after the move, because
other nodes may still move slots: `reset` ends it. Valkey starts the rewrite by itself once the default percentage is
back. See docs/decisions/0044, 0106 and 0112.

A restart of a node resets these settings. If the server is killed in the middle of a move, the task that continues
after its next start resets them; the supervision of parameters resets them on nodes that no task moves slots of.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress

from cachewright.concurrency import end_tasks
from cachewright.model.instances import Node
from cachewright.valkey.access import Access
from cachewright.valkey.client import NODE_GONE, NodeRefused, Valkey, config_set, connect, connect_again

SETTINGS_OUTSIDE_MOVES: Mapping[str, str] = {"hz": "10", "auto-aof-rewrite-percentage": "100"}
"""The values outside of moves. No parameter of an instance changes them."""

_HZ, _SHORT_HZ = 100, 500
_SNAPSHOT_HZ = 19
"""The cluster timer, which begins snapshots, ticks ten times a second at most values of `hz`, also at large ones. At 11
to 19 it ticks `hz` times, because Valkey computes its periods in whole milliseconds and rounds down."""

_DURING: Mapping[str, str] = {"hz": str(_HZ), "auto-aof-rewrite-percentage": "0"}
_AFTER: Mapping[str, str] = {"hz": SETTINGS_OUTSIDE_MOVES["hz"]}

_LONG_PAUSE_SECONDS = 3.0
"""Time after which a pause of a move resets the settings."""


class MoveSettings:
    """Settings of the nodes of this host. A node may be the target of several moves."""

    def __init__(self) -> None:
        self._moves: Counter[str] = Counter()

    @asynccontextmanager
    async def during_move(self, *nodes: tuple[Node, Valkey]) -> AsyncIterator[None]:
        """Change the settings of the nodes. After the last move of a node, it checks its migrations as usual again, and
        still starts no rewrite. Nodes that do not answer then are ignored: a restart resets them."""
        self._moves.update(node.id for node, _ in nodes)
        try:
            await asyncio.gather(*(config_set(client, _DURING) for _, client in nodes))
            yield
        finally:
            for node, client in nodes:
                self._moves[node.id] -= 1
                if not self._moves[node.id]:
                    del self._moves[node.id]
                    with suppress(*NODE_GONE, NodeRefused):
                        await config_set(client, _AFTER)

    @asynccontextmanager
    async def during_pause(self, access: Access, *nodes: tuple[Node, Valkey]) -> AsyncIterator[None]:
        """Reset the settings if the `with` block, in which a move is paused, lasts for some seconds. Change them again
        after it. Nodes are arguments of `during_move`."""
        left: set[str] = set()
        leaving = asyncio.create_task(self._leave_later(left, access, nodes))
        try:
            yield
        finally:
            await end_tasks(leaving)
        if left:
            for _, client in nodes:
                await connect_again(client)
                await config_set(client, _DURING)

    async def _leave_later(self, left: set[str], access: Access, nodes: Sequence[tuple[Node, Valkey]]) -> None:
        """After a while, reset the settings of nodes that no other move uses, until cancelled. Adds the ids of the
        nodes to `left`."""
        await asyncio.sleep(_LONG_PAUSE_SECONDS)
        try:
            for node, _ in nodes:
                left.add(node.id)
                self._moves[node.id] -= 1
                if not self._moves[node.id]:
                    await reset(node, access)
            await asyncio.Event().wait()
        finally:
            self._moves.update(left)


async def check_often(short: bool, *clients: Valkey) -> None:
    """Make nodes check their migrations often; for `short` batches, even more often, which costs processor time."""
    for client in clients:
        await client.config_set("hz", _SHORT_HZ if short else _HZ)


async def start_snapshots_soon(source: Valkey) -> None:
    """Make a node begin snapshots of migrations sooner, and check them less often, until `check_often`."""
    await source.config_set("hz", _SNAPSHOT_HZ)


async def reset(node: Node, access: Access) -> None:
    """Reset all settings of a node after its moves. Ignores a node that does not answer or refuses."""
    with suppress(*NODE_GONE, NodeRefused):
        async with connect(node, access) as client:
            await config_set(client, SETTINGS_OUTSIDE_MOVES)
