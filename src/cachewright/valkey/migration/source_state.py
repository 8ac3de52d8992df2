"""State that the slot migrations of a host share, and that successive moves of a source share."""

import asyncio

from cachewright.valkey.migration.batch_size import BatchSizer
from cachewright.valkey.migration.latency_probe import LatencyProbe


class MigrationState:
    """State of one host. Keys are node ids of sources.

    :ivar concurrency: number of moves that the processors of the host can serve at full speed.
    :ivar permits: limit of concurrent batches with clients. Each keeps two processes of the host busy; the remaining
        processors are for clients.
    :ivar carry_over: bytes that a source had sent when its previous range ended, if it is already sending the next one.
    :ivar last_latency: latency of a source during its last batch with clients.
    """

    def __init__(self, cpus: int) -> None:
        self.concurrency = max(cpus // 2, 1)
        self.permits = asyncio.Semaphore(self.concurrency)
        self.carry_over: dict[str, int] = {}
        self.last_latency: dict[str, LatencyProbe] = {}
        self._batch_sizers: dict[str, BatchSizer] = {}

    def batch_sizer(self, node_id: str, bytes_per_key: float) -> BatchSizer:
        """Return the sizer of the source's last move, which has adapted to its clients. Return a new one if
        `bytes_per_key`, which each task measures once, has changed."""
        sizer = self._batch_sizers.get(node_id)
        if sizer is None or sizer.bytes_per_key != bytes_per_key:
            sizer = self._batch_sizers[node_id] = BatchSizer(bytes_per_key)
        return sizer

    def forget(self, node_id: str) -> None:
        self.carry_over.pop(node_id, None)
        self.last_latency.pop(node_id, None)
        self._batch_sizers.pop(node_id, None)
