"""Requirements of a migration on its nodes: durable storage, latency."""

import time

from cachewright.model.instances import Node
from cachewright.valkey.access import Access
from cachewright.valkey.client import NODE_GONE, NodeRefused, Valkey, connect
from cachewright.valkey.migration.failure import MigrationFailed

_ANSWER_SECONDS = 1.0
"""Time limit for checks of a later target. The progress of the current range is not followed during the check."""


async def require_durable(*clients: Valkey) -> None:
    """Raise MigrationFailed if a node cannot write its append-only file. It would keep received slots in memory only,
    and the source deletes its copy."""
    for client in clients:
        if (await client.info("persistence"))["aof_last_write_status"] != "ok":
            raise MigrationFailed(["a node cannot write its append-only file"])


async def can_be_target(node: Node, access: Access) -> bool:
    """Whether the node answers and can write its append-only file."""
    try:
        async with connect(node, access, _ANSWER_SECONDS) as client:
            await require_durable(client)
    except (MigrationFailed, *NODE_GONE, NodeRefused):
        return False
    return True


async def latency(*clients: Valkey) -> float:
    """Return the seconds that the slowest node takes to answer. Each node has two tries, and the better one counts."""
    slowest = 0.0
    for client in clients:
        tries = []
        for _ in range(2):
            sent_at = time.perf_counter()
            await client.ping()
            tries.append(time.perf_counter() - sent_at)
        slowest = max(slowest, min(tries))
    return slowest
