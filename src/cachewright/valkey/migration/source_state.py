"""State that the slot migrations of a host share, and that successive moves of a source share."""

import asyncio
from collections import defaultdict

from cachewright.valkey.migration.batch_size import BatchSizer
from cachewright.valkey.migration.latency_probe import LatencyProbes
from cachewright.valkey.migration.node_settings import MoveSettings
from cachewright.valkey.migration.range_size import BatchShare
from cachewright.valkey.migration.stale_copies import InterruptedKeys
from cachewright.valkey.migration.target_locks import TargetLocks
from cachewright.valkey.migration.wait_model import WaitLearner


class MigrationState:
    """State of one host. Keys are node ids of sources.

    :ivar concurrency: number of moves that the processors of the host can serve at full speed.
    :ivar permits: limit of concurrent batches with clients. Each keeps two processes of the host busy; the remaining
        processors are for clients.
    :ivar key_permits: limit of sources that move keys one by one at the same time. Source and target of such a move are
        busy by turns, but clients wait for a processor as soon as there are more of them.
    :ivar carry_over: bytes that a source had sent when its previous range ended, if it is already sending the next one.
    :ivar probes: latency of the sources of batches with clients.
    :ivar waits: how long clients wait for a batch on this host.
    :ivar settings: settings of nodes for the time of a move.
    :ivar targets: turns of sources at their targets.
    :ivar large_slots: slots in which the last plan for an instance found large values, by instance.
    :ivar ended_moves: ids of sub-steps whose moves have ended, by instance.
    :ivar suspects: keys of interrupted MIGRATE commands, by source.
    """

    def __init__(self, cpus: int) -> None:
        self.concurrency = max(cpus // 2, 1)
        self.permits = asyncio.Semaphore(self.concurrency)
        self.key_permits = asyncio.Semaphore(self.concurrency)
        self.carry_over: dict[str, int] = {}
        self.probes = LatencyProbes()
        self.waits = WaitLearner()
        self.settings = MoveSettings()
        self.targets = TargetLocks()
        self.large_slots: dict[str, frozenset[int]] = {}
        self.ended_moves: defaultdict[str, set[str]] = defaultdict(set)
        self.suspects: dict[str, InterruptedKeys] = {}
        self._batch_sizers: dict[str, BatchSizer] = {}
        self._batch_shares: dict[tuple[str, bool], BatchShare] = {}

    def batch_sizer(self, node_id: str, bytes_per_key: float) -> BatchSizer:
        """Return the sizer of the source's last move, which knows its clients. Return a new one if `bytes_per_key`,
        which each task measures once, has changed."""
        sizer = self._batch_sizers.get(node_id)
        if sizer is None or sizer.bytes_per_key != bytes_per_key:
            sizer = self._batch_sizers[node_id] = BatchSizer(bytes_per_key, self.waits)
        return sizer

    def batch_share(self, instance_id: str, *, clients: bool) -> BatchShare:
        """Return how many keys of the instance's task have moved in small batches, from sources with or without clients
        when the plan was made."""
        return self._batch_shares.setdefault((instance_id, clients), BatchShare())

    def begin_task(self, instance_id: str) -> None:
        """Forget what was counted for the last task of the instance."""
        self.ended_moves.pop(instance_id, None)
        for clients in (True, False):
            self._batch_shares.pop((instance_id, clients), None)

    def forget(self, node_id: str) -> None:
        self.carry_over.pop(node_id, None)
        self.probes.forget(node_id)
        self._batch_sizers.pop(node_id, None)
