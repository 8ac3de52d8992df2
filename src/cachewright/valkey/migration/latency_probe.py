"""Latency of a node during a migration, as a client would see it."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from cachewright.model.instances import Node
from cachewright.valkey.access import Access
from cachewright.valkey.client import NODE_GONE, NodeRefused, Valkey, connect

_INTERVAL_SECONDS = 0.01
_SLOW_SHARE = 0.005
"""Limit of a probe's budget: share of requests that may exceed the ceiling. It is half of the share that the ceiling
allows, because migrations are not the only cause of slow requests."""


class LatencyProbe:
    """Latencies of a client that sends a hundred requests per second.

    :ivar latencies: latency of each request, in seconds.
    :ivar ended_at: time of the last request, in seconds of the monotonic clock; infinite while the probe runs.
    """

    def __init__(self) -> None:
        self.latencies: list[float] = []
        self.ended_at = float("inf")

    @property
    def longest(self) -> float:
        return max(self.latencies, default=0.0)

    def stop(self) -> None:
        self.ended_at = time.monotonic()

    def is_within_budget(self, ceiling: float, now: float) -> bool:
        """Whether few enough requests took longer than `ceiling` seconds. The total includes the requests that would
        have been sent from the end of the probe until `now`; they count as fast."""
        slow = sum(latency > ceiling for latency in self.latencies)
        return slow <= _SLOW_SHARE * (len(self.latencies) + (now - self.ended_at) / _INTERVAL_SECONDS)

    async def sample(self, client: Valkey) -> None:
        """Send requests until `stop` is called."""
        while self.ended_at > time.monotonic():
            sent_at = time.perf_counter()
            await client.ping()
            self.latencies.append(time.perf_counter() - sent_at)
            await asyncio.sleep(_INTERVAL_SECONDS)


@asynccontextmanager
async def probe_latency(node: Node, access: Access) -> AsyncIterator[LatencyProbe]:
    """Probe the node until the end of the `with` block. The probe ends silently if the node does not answer."""
    probe = LatencyProbe()
    async with connect(node, access) as client:
        sampling = asyncio.create_task(probe.sample(client))
        try:
            yield probe
        finally:
            probe.stop()  # cancelling a request would leave its reply on the connection
            with suppress(*NODE_GONE, NodeRefused):
                await sampling
