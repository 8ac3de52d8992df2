"""Progress of a range that its source moves ahead of its turn.

A source may move the following range while the mover of the present one still waits for its own jobs: the order of jobs
is the node's.
"""

from collections.abc import Mapping, Sequence, Set
from contextlib import suppress

from cachewright.valkey.client import NODE_GONE, NodeBusy, NodeRefused, Valkey
from cachewright.valkey.migration.jobs import Job
from cachewright.valkey.migration.move import Next
from cachewright.valkey.migration.range_size import BatchShare
from cachewright.valkey.migration.transfer import TransferProgress


class MovingAhead:
    """Measures the following range."""

    def __init__(
        self,
        following: Next,
        target: Valkey,
        *,
        names: Set[str],
        counts: Mapping[int, int],
        batch_keys: int,
        exported: int,
        share: BatchShare | None,
    ) -> None:
        """Begin to measure.

        :param names: of the jobs that move it.
        :param counts: keys by slot that the source has.
        :param batch_keys: number of keys in a batch.
        :param exported: bytes that the source had sent before.
        """
        self._bytes, self._without = 0, exported
        self._following = following
        self._target = target
        self._names = names
        self._progress = TransferProgress(counts, following.size, 0, share)
        self._progress.expect_batches(batch_keys, small=False)

    async def measure(self, jobs: Sequence[Job]) -> None:
        """Report the progress, given all jobs of the source. A target that does not answer is the concern of the mover
        of that range."""
        own = [job for job in jobs if job.name in self._names]
        if any(not job.ended or job.state == "success" for job in own):
            with suppress(*NODE_GONE, NodeBusy, NodeRefused):
                # The source counts the bytes of all ranges together, so they tell nothing of this one.
                transfer = await self._progress.measure(self._target, own, exported=0)
                self._bytes = round(transfer.keys * self._following.size.bytes_per_key)
                self._following.report(transfer)

    def without(self, exported: int) -> int:
        """Return the bytes that the source has sent, without those of this range. They do not decrease, unless the
        counter has restarted."""
        rest = max(exported - self._bytes, 0)
        self._without = max(rest, self._without) if self._without <= exported else rest
        return self._without
