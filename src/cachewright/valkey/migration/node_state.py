"""Requirements of a migration on its nodes: durable storage, latency."""

import asyncio
import time

from cachewright.model.instances import Node
from cachewright.valkey.access import Access
from cachewright.valkey.client import NODE_GONE, NodeRefused, Valkey
from cachewright.valkey.migration.failure import MigrationFailed
from cachewright.valkey.single_request import info

_WRITE_STATUS = "aof_last_write_status"
ANSWER_SECONDS = 1.0
"""Time limit for checks of a later target. The progress of the current range is not followed during the check."""


async def require_durable(*clients: Valkey) -> None:
    """Raise MigrationFailed if a node cannot write its append-only file. It would keep received slots in memory only,
    and the source deletes its copy."""
    for said in await asyncio.gather(*(client.info("persistence") for client in clients)):
        if said[_WRITE_STATUS] != "ok":
            raise MigrationFailed(["a node cannot write its append-only file"])


async def can_be_target(node: Node, access: Access) -> bool:
    """Whether the node answers and can write its append-only file."""
    try:
        said = await info(node, access, ("persistence",), ANSWER_SECONDS)
    except (*NODE_GONE, NodeRefused):
        return False
    return said.get(_WRITE_STATUS) == "ok"


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
