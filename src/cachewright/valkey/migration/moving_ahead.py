"""Progress of a range that its source moves ahead of its turn.

A source may move the following range while the mover of the present one still waits for its own jobs: the order of jobs
is the node's.
"""

from collections.abc import Mapping, Sequence, Set
from contextlib import suppress

from cachewright.valkey.client import NODE_GONE, NodeBusy, NodeRefused, Valkey
from cachewright.valkey.migration.batch_size import LARGE_KEYS
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
        share: BatchShare | None,
    ) -> None:
        """Begin to measure.

        :param names: of the jobs that move it.
        :param counts: keys by slot that the source has.
        """
        self._following = following
        self._target = target
        self._names = names
        self._progress = TransferProgress(counts, following.size, 0, share)
        self._progress.expect_batches(LARGE_KEYS, small=False)

    async def measure(self, jobs: Sequence[Job]) -> None:
        """Report the progress, given all jobs of the source. A target that does not answer is the concern of the mover
        of that range."""
        own = [job for job in jobs if job.name in self._names]
        if any(not job.ended or job.state == "success" for job in own):
            with suppress(*NODE_GONE, NodeBusy, NodeRefused):
                # The source counts the bytes of all ranges together, so they tell nothing of this one.
                self._following.report(await self._progress.measure(self._target, own, exported=0))
