"""Latency of a node during a migration, as clients would see it."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from cachewright.model.instances import Node
from cachewright.valkey.access import Access
from cachewright.valkey.client import NODE_GONE, NodeRefused, Valkey, ask, connect

_INTERVAL_SECONDS = 0.01
_KINDS = 2
_SLOW_SHARE = 0.005
"""Limit of a probe's budget: share of requests that may exceed the ceiling. It is half of the share that the ceiling
allows, because migrations are not the only cause of slow requests."""

_LINGER_SECONDS = 1.0
"""A node may stall up to this long after the end of a migration, when it frees the memory of large keys."""


class LatencyProbe:
    """Latencies of two clients that each send a hundred requests per second: one reads, one writes. Both requests
    change nothing.

    :ivar latencies: latency of each request since the last batch began, in seconds.
    :ivar ended_at: time of the last request, in seconds of the monotonic clock; infinite while the probe runs.
    """

    def __init__(self) -> None:
        self.latencies: list[float] = []
        self.ended_at = float("inf")

    @property
    def longest(self) -> float:
        """The longest wait in seconds. Half of the time between two requests is added to it, because on average the
        request was sent that long after the stall had begun."""
        longest = max(self.latencies, default=0.0)
        between = _INTERVAL_SECONDS / _KINDS
        return longest + between / 2 if longest > between else longest

    @property
    def has_ended(self) -> bool:
        return self.ended_at < float("inf")

    @property
    def has_measured(self) -> bool:
        """Whether the probe has sent requests for all of the batch, and still does."""
        return bool(self.latencies) and not self.has_ended

    def begin_batch(self) -> None:
        self.latencies = []

    def stop(self) -> None:
        """End the probe, if it has not ended."""
        self.ended_at = min(self.ended_at, time.monotonic())

    def is_within_budget(self, ceiling: float, now: float) -> bool:
        """Whether few enough requests took longer than `ceiling` seconds. The total includes the requests that would
        have been sent from the end of the probe until `now`; they count as fast."""
        slow = sum(latency > ceiling for latency in self.latencies)
        since_end = max(now - self.ended_at, 0.0)
        return slow <= _SLOW_SHARE * (len(self.latencies) + since_end * _KINDS / _INTERVAL_SECONDS)

    async def sample(self, request: Callable[[], Awaitable[object]]) -> None:
        """Send requests until `stop` is called."""
        while self.ended_at > time.monotonic():
            sent_at = time.perf_counter()
            with suppress(NodeRefused):  # a node that executes a script refuses others
                await request()
            self.latencies.append(time.perf_counter() - sent_at)
            await asyncio.sleep(_INTERVAL_SECONDS)


class LatencyProbes:
    """The probes of a host's sources. A probe continues for a second after its last batch."""

    def __init__(self) -> None:
        self._probes: dict[str, LatencyProbe] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._stops: dict[str, asyncio.TimerHandle] = {}

    def last(self, node_id: str) -> LatencyProbe | None:
        """Return the probe of the node's last batch."""
        return self._probes.get(node_id)

    @asynccontextmanager
    async def probe(self, node: Node, access: Access) -> AsyncIterator[LatencyProbe]:
        """Probe the node until the end of the `with` block and for a second after it. The probe ends silently if the
        node does not answer. A node has one batch at a time."""
        if node.id in self._stops:
            self._stops.pop(node.id).cancel()
        probe = self._probes.get(node.id)
        if probe is None or probe.has_ended:
            probe = self._probes[node.id] = LatencyProbe()
            running = asyncio.create_task(_run(probe, node, access))
            self._running.add(running)
            running.add_done_callback(self._running.discard)
        probe.begin_batch()
        try:
            yield probe
        finally:
            self._stops[node.id] = asyncio.get_running_loop().call_later(_LINGER_SECONDS, self._stop, node.id, probe)

    def _stop(self, node_id: str, probe: LatencyProbe) -> None:
        probe.stop()
        self._stops.pop(node_id, None)

    def forget(self, node_id: str) -> None:
        if node_id in self._stops:
            self._stops.pop(node_id).cancel()
        if probe := self._probes.pop(node_id, None):
            probe.stop()


async def _run(probe: LatencyProbe, node: Node, access: Access) -> None:
    try:
        async with connect(node, access) as reads, connect(node, access) as writes:
            await asyncio.gather(probe.sample(reads.ping), probe.sample(lambda: held_by_pauses(writes)))
    except (*NODE_GONE, NodeRefused):
        return
    finally:
        probe.stop()


async def held_by_pauses(client: Valkey) -> None:
    """Send a request that a pause of writes holds, as it holds writes. It changes nothing: the node cannot know that
    the script does not write."""
    await ask(client, "EVAL", "return 0", 0)
