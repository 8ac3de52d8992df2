"""State that slot migrations of a host share, and that moves of one source hand on to the next."""

import asyncio

from cachewright.valkey.migration.batch_size import BatchSizer
from cachewright.valkey.migration.latency_probe import LatencyProbe


class MigrationState:
    """The state of one host. Keys are node ids of sources.

    :ivar concurrency: how many moves the processors of the host can serve at full speed.
    :ivar permits: limit of batches that clients may notice. Each keeps two processes of the host busy, and clients get
        the remaining processors.
    :ivar carry_over: bytes that a source had sent when the previous range ended, where it already sends the next one.
    :ivar last_latency: latency of a source during its last batch that clients may have noticed.
    """

    def __init__(self, cpus: int) -> None:
        self.concurrency = max(cpus // 2, 1)
        self.permits = asyncio.Semaphore(self.concurrency)
        self.carry_over: dict[str, int] = {}
        self.last_latency: dict[str, LatencyProbe] = {}
        self._batch_sizers: dict[str, BatchSizer] = {}

    def batch_sizer(self, node_id: str, bytes_per_key: float) -> BatchSizer:
        """The sizer of the source's last move, which has adapted to its clients, as long as `bytes_per_key` is the
        same. A task measures that once."""
        sizer = self._batch_sizers.get(node_id)
        if sizer is None or sizer.bytes_per_key != bytes_per_key:
            sizer = self._batch_sizers[node_id] = BatchSizer(bytes_per_key)
        return sizer

    def forget(self, node_id: str) -> None:
        self.carry_over.pop(node_id, None)
        self.last_latency.pop(node_id, None)
        self._batch_sizers.pop(node_id, None)
