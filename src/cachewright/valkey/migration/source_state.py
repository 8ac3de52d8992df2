"""What is known of sources from one move to the next."""

import asyncio
import os

import msgspec

from cachewright.valkey.migration.batch_size import BatchSizer
from cachewright.valkey.migration.latency_probe import LatencyProbe


def side_by_side() -> int:
    """How many moves the host's processors are enough for."""
    return max(len(os.sched_getaffinity(0)) // 2, 1)


def _turns() -> asyncio.Semaphore:
    return asyncio.Semaphore(side_by_side())


class MigrationState(msgspec.Struct, frozen=True):
    """Of one host. Keys are node ids.

    :ivar turns: of pieces that clients may feel. Each keeps two processes of the host busy, and clients are served with
    what they leave of its processors.
    :ivar handed_on: of a source that already moves what comes next, how many bytes it had sent by the end of what came
    before.
    :ivar felt: what clients have felt of the last such piece of a source.
    """

    turns: asyncio.Semaphore = msgspec.field(default_factory=_turns)
    handed_on: dict[str, int] = msgspec.field(default_factory=dict)
    felt: dict[str, LatencyProbe] = msgspec.field(default_factory=dict)
    _portions: dict[str, BatchSizer] = msgspec.field(default_factory=dict)

    def portions(self, node_id: str, bytes_per_key: float) -> BatchSizer:
        """Those of the last move from the node, which has learnt how much it may give away, if keys take as much now as
        they did then: a task measures that once."""
        known = self._portions.get(node_id)
        if known is None or known.bytes_per_key != bytes_per_key:
            known = self._portions[node_id] = BatchSizer(bytes_per_key)
        return known

    def forget(self, node_id: str) -> None:
        self.handed_on.pop(node_id, None)
        self.felt.pop(node_id, None)
        self._portions.pop(node_id, None)
