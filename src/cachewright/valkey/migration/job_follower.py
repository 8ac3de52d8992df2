"""Follow the migration jobs of one range until all of them have succeeded.

Source: CLUSTER GETSLOTMIGRATIONS of Valkey 9.1; states as observed.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

from cachewright.valkey.client import NODE_GONE, NodeRefused, Valkey
from cachewright.valkey.migration.control import MigrationControl
from cachewright.valkey.migration.failure import MigrationFailed
from cachewright.valkey.migration.jobs import Job, cancel_all, exported_bytes, jobs
from cachewright.valkey.migration.node_state import require_durable
from cachewright.valkey.migration.transfer import Transfer, TransferProgress

_SHORT_POLL_SECONDS, _POLL_SECONDS = 0.02, 0.1
_POLL_SHARE = 0.1
"""Pause between two polls of a batch, as a share of the time that it has taken so far."""

_NOISE_BYTES = 64 * 1024
"""Growth of the byte counter that does not count as progress, because the counter includes the cluster bus."""


class JobFollower:
    """Follows jobs on a source and a target."""

    def __init__(self, source: Valkey, target: Valkey, *, control: MigrationControl, stalled_seconds: float) -> None:
        """Prepare to follow jobs.

        :param stalled_seconds: time without a change of any counter after which the jobs fail.
        """
        self._source = source
        self._target = target
        self._control = control
        self._stalled_seconds = stalled_seconds

    async def follow(self, names: set[str], progress: TransferProgress, report: Callable[[Transfer], None]) -> int:
        """Report the progress of jobs until all of them have succeeded. Return the bytes that the source has exported
        by then. Otherwise cancel the jobs and raise MigrationFailed."""
        started_at = changed_at = time.monotonic()
        last: tuple[object, ...] = ()
        while True:
            current = {job.name: job for job in await jobs(self._source) if job.name in names}
            if len(current) < len(names):
                raise MigrationFailed(["the source has restarted"])
            failed = [job for job in current.values() if job.ended and job.state != "success"]
            if failed:
                await self._cancel_and_raise(failed[-1])
            exported = await exported_bytes(self._source)  # read it first, because the next range starts soon
            if all(job.ended for job in current.values()):
                return exported
            states = {job.state for job in current.values()}
            transfer = await progress.measure(self._target, states, exported)
            report(transfer)
            try:
                await require_durable(self._target)
            except MigrationFailed:
                await cancel_all(self._source)
                raise
            if self._control.is_cancelled():
                await cancel_all(self._source)
                raise MigrationFailed(["cancelled"])
            counters = (transfer.keys, transfer.bytes // _NOISE_BYTES, *sorted(job.state for job in current.values()))
            if counters != last:
                last, changed_at = counters, time.monotonic()
            elif time.monotonic() - changed_at > self._stalled_seconds:
                await cancel_all(self._source)
                raise MigrationFailed([f"no progress for {self._stalled_seconds:g} s"])
            await asyncio.sleep(_pause(transfer, time.monotonic() - started_at))

    async def _cancel_and_raise(self, failed: Job) -> None:
        """Cancel all jobs and raise MigrationFailed with the reasons of both nodes, because often only the target has
        logged the cause."""
        await cancel_all(self._source)
        reasons = [f"source: {failed.message or failed.state}"]
        with suppress(*NODE_GONE, NodeRefused):
            reasons += [f"target: {job.message}" for job in await jobs(self._target) if job.name == failed.name]
        raise MigrationFailed(reasons)


def _pause(transfer: Transfer, since_start: float) -> float:
    """Return the seconds until the next poll. Polls cost processor time of the nodes, so they are frequent only at the
    end."""
    if transfer.increment != "to start":
        return _SHORT_POLL_SECONDS
    return min(max(since_start * _POLL_SHARE, _SHORT_POLL_SECONDS), _POLL_SECONDS)
