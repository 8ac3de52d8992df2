"""Latency of a node during a migration, as a client would see it."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from cachewright.model.instances import Node
from cachewright.valkey.access import Access
from cachewright.valkey.client import NODE_GONE, NodeRefused, Valkey, connect

_PROBE_SECONDS = 0.01
_FEW = 0.005  # of all requests: half of what is allowed, since more than this makes some of them slow


class LatencyProbe:
    """What a client feels that asks a node a hundred times a second.

    :ivar waits: seconds that each of its requests has taken.
    :ivar ended: when it stopped asking, in seconds of the monotonic clock.
    """

    def __init__(self) -> None:
        self.waits: list[float] = []
        self.ended = float("inf")

    @property
    def longest(self) -> float:
        return max(self.waits, default=0.0)

    def end(self) -> None:
        self.ended = time.monotonic()

    def outweighed(self, ceiling: float, now: float) -> bool:
        """Had it gone on asking until `now`, with nothing to wait for, so few of its requests would have taken longer
        than `ceiling` seconds that the rest outweighs them."""
        slow = sum(wait > ceiling for wait in self.waits)
        return slow <= _FEW * (len(self.waits) + (now - self.ended) / _PROBE_SECONDS)

    async def beat(self, client: Valkey) -> None:
        while self.ended > time.monotonic():
            asked = time.perf_counter()
            await client.ping()
            self.waits.append(time.perf_counter() - asked)
            await asyncio.sleep(_PROBE_SECONDS)


@asynccontextmanager
async def probe_latency(node: Node, access: Access) -> AsyncIterator[LatencyProbe]:
    """Asks the node a hundred times a second until the end of the `with` block. A node that is gone is not felt."""
    pulse = LatencyProbe()
    async with connect(node, access) as client:
        beating = asyncio.create_task(pulse.beat(client))
        try:
            yield pulse
        finally:
            pulse.end()  # a cancelled request would leave its answer on the connection
            with suppress(*NODE_GONE, NodeRefused):
                await beating
