"""Progress of a range that its source moves ahead of its turn.

A source begins the snapshot of the following range when that of the present one has ended, while the mover of the
present one still waits for the handover. The bytes that the source sends from then on are those of the following range.
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
        share: BatchShare | None,
    ) -> None:
        """Prepare to measure.

        :param names: of the jobs that move it.
        :param counts: keys by slot that the source has.
        :param batch_keys: number of keys in a batch.
        """
        self._following = following
        self._target = target
        self._names = names
        self._counts = counts
        self._batch_keys = batch_keys
        self._share = share
        self._before: int | None = None
        self._progress: TransferProgress | None = None

    async def measure(self, jobs: Sequence[Job], exported: int) -> None:
        """Report the progress, given all jobs of the source and the bytes that it has sent. A target that does not
        answer is the concern of the mover of that range."""
        own = [job for job in jobs if job.name in self._names]
        if any(not job.awaits_snapshot and (not job.ended or job.state == "success") for job in own):
            with suppress(*NODE_GONE, NodeBusy, NodeRefused):
                self._following.report(await self._started(exported).measure(self._target, own, exported))

    def without(self, exported: int) -> int:
        """Return the bytes that the source has sent, without those of this range."""
        return exported if self._before is None else min(self._before, exported)

    def _started(self, exported: int) -> TransferProgress:
        if self._progress is None:
            self._before = exported
            self._progress = TransferProgress(self._counts, self._following.size, exported, self._share)
            self._progress.expect_batches(self._batch_keys, small=False)
        return self._progress
