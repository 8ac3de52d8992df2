"""Follow the migration jobs of one range until all of them have succeeded.

Waits for a busy node or a background save have no limit, and are no failure. They hold no permit of the host. A job
that fails because its batch was too large is given up, and smaller batches follow. See docs/decisions/0038 and 0039.

Source: CLUSTER GETSLOTMIGRATIONS of Valkey 9.1; states as observed.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence, Set
from contextlib import suppress
from typing import Any, NamedTuple

from cachewright.model.instances import Node
from cachewright.valkey.client import NODE_GONE, NodeBusy, NodeRefused, Valkey
from cachewright.valkey.migration.background_child import child_status
from cachewright.valkey.migration.control import MigrationControl
from cachewright.valkey.migration.failure import MigrationFailed
from cachewright.valkey.migration.job_failure import is_cured_by_smaller_batches, overflows
from cachewright.valkey.migration.jobs import EXPORTED, Job, cancel_all, jobs
from cachewright.valkey.migration.moving_ahead import MovingAhead
from cachewright.valkey.migration.node_settings import check_often, start_snapshots_soon
from cachewright.valkey.migration.node_state import require_durable
from cachewright.valkey.migration.permit import Permit
from cachewright.valkey.migration.transfer import Transfer, TransferProgress
from cachewright.valkey.slots import slots_of

log = logging.getLogger(__name__)

_SHORT_POLL_SECONDS, _POLL_SECONDS = 0.02, 0.1
_POLL_SHARE = 0.1
"""Pause between two polls of a batch, as a share of the time that it has taken so far."""

_BUSY_POLL_SECONDS = 0.25

_SILENT_SECONDS = 0.1
"""Time after which a source that does not answer is taken to hand a batch over."""

_NOISE_BYTES = 64 * 1024
"""Growth of the byte counter that does not count as progress, because the counter includes the cluster bus."""

_WAITS_FOR_CHILD = "waiting-to-snapshot"
_CHILD_SECONDS = 0.5
"""Time without progress after which the source is queried for its child process. Every snapshot waits for a tenth of a
second, so it is longer than that."""


class JobFollower:
    """Follows jobs on a source and a target."""

    def __init__(
        self,
        nodes: tuple[Node, Node],
        clients: tuple[Valkey, Valkey],
        *,
        control: MigrationControl,
        stalled_seconds: float,
        limit_batches: Callable[[int], None],
        short: bool = False,
        permit: Permit | None = None,
        start_next: Callable[[], Awaitable[Set[str]]] | None = None,
        ahead: Callable[[], MovingAhead | None] = lambda: None,
    ) -> None:
        """Prepare to follow jobs between two nodes, source and target.

        :param stalled_seconds: time without a change of any counter after which the jobs fail.
        :param limit_batches: called with the number of keys that later batches of the source must not exceed.
        :param short: whether the batches are short, so that nodes check them more often than others.
        :param permit: given back when the jobs have to wait, because a batch that waits uses no processor. They end
            without it.
        :param start_next: starts the next job and returns its name if it is to be followed, too. It is called while no
            job of the source waits for its snapshot: of several that wait, the source would choose any.
        :param ahead: returns what measures the following range, if it has been started.
        """
        self._nodes = nodes
        self._source, self._target = clients
        self._control = control
        self._stalled_seconds = stalled_seconds
        self._limit_batches = limit_batches
        self._short = short
        self._snapshots_soon = False
        self._permit = permit
        self._start_next = start_next
        self._ahead = ahead
        self._last: _Look | None = None
        self._first_stats: Mapping[str, Any] | None = None
        self._busy: NodeBusy | None = None
        self._failed_while_busy: NodeBusy | None = None
        self._shown = ""

    async def follow(self, names: set[str], progress: TransferProgress, report: Callable[[Transfer], None]) -> int:
        """Report the progress of jobs until all have ended. Return the bytes that the source has exported by then.

        Either all have succeeded, or one was too large: then the others are cancelled, and later batches are smaller.
        Otherwise cancel them and raise MigrationFailed, or NodeBusy if one has failed because a node was busy.
        """
        started_at = time.monotonic()
        clock = _StallClock()
        try:
            while True:
                try:
                    every, stats = await self._look(progress, report)
                    current = _of_names(every, names)
                    await self._hasten_snapshots(every)
                    have_ended = await self._have_ended(current, stats, progress)
                    self._last = _Look(every, current, int(stats[EXPORTED]))
                    transfer = await self._measure(self._last, progress, report)
                    if have_ended:
                        break
                    await self._require_allowed()
                    await self._require_progress(clock, transfer, current)
                    if self._start_next and not any(_awaits_snapshot(job) for job in every):
                        names |= await self._start_next()
                except NodeBusy as busy:
                    await self._wait_while(busy)
                    clock.restart()
                else:
                    await asyncio.sleep(_pause(transfer, time.monotonic() - started_at))
        finally:
            self._end_wait()
        if self._failed_while_busy:
            raise self._failed_while_busy
        return int(stats[EXPORTED])

    async def _look(
        self, progress: TransferProgress, report: Callable[[Transfer], None]
    ) -> tuple[list[Job], Mapping[str, Any]]:
        """Return all jobs of the source and its statistics. While it hands a batch over, the source does not answer;
        meanwhile the target tells how far its last known jobs are."""
        looking = asyncio.create_task(self._jobs_and_stats())
        try:
            while not (await asyncio.wait({looking}, timeout=_SILENT_SECONDS))[0]:
                if self._last:
                    with suppress(*NODE_GONE, NodeBusy, NodeRefused):
                        await self._measure(self._last, progress, report)
            return looking.result()
        finally:
            looking.cancel()

    async def _hasten_snapshots(self, every: Sequence[Job]) -> None:
        """Let the source begin a snapshot sooner while all its jobs wait for one. It would hand over others later."""
        exports = [job for job in every if job.operation == "EXPORT" and not job.ended]
        soon = bool(exports) and all(job.awaits_snapshot for job in exports)
        if soon and not self._snapshots_soon:
            await start_snapshots_soon(self._source)
        elif self._snapshots_soon and not soon:
            await check_often(self._short, self._source)
        self._snapshots_soon = soon

    async def _measure(self, look: "_Look", progress: TransferProgress, report: Callable[[Transfer], None]) -> Transfer:
        """Report the progress of the jobs, and that of the following range, whose bytes the source counts as well."""
        exported = look.exported
        if ahead := self._ahead():
            await ahead.measure(look.every, exported)
            exported = ahead.without(exported)
        transfer = await progress.measure(self._target, look.current, exported)
        report(transfer)
        return transfer

    async def _jobs_and_stats(self) -> tuple[list[Job], Mapping[str, Any]]:
        return await jobs(self._source), await self._stats()  # at once, because the next range starts soon

    async def _stats(self) -> Mapping[str, Any]:
        stats: Mapping[str, Any] = await self._source.info("stats")
        self._first_stats = self._first_stats or stats
        return stats

    async def _have_ended(self, current: Sequence[Job], stats: Mapping[str, Any], progress: TransferProgress) -> bool:
        """Whether all jobs have succeeded, or have been given up."""
        failed = [job for job in current if job.ended and job.state != "success"]
        if failed:
            await self._give_up(failed[-1], progress, overflowed=overflows(self._first_stats or stats, stats))
        return bool(failed) or all(job.ended for job in current)

    async def _give_up(self, failed: Job, progress: TransferProgress, *, overflowed: bool) -> None:
        """Cancel all jobs. Return if they failed because a node was busy, or if smaller batches avoid the failure and
        follow. Otherwise raise MigrationFailed with the reasons of both nodes, because often only the target has logged
        the cause."""
        await cancel_all(self._source)
        if self._busy:
            self._failed_while_busy = self._busy
            return
        messages = [failed.message or failed.state]
        reasons = [f"source: {messages[0]}"]
        with suppress(*NODE_GONE, NodeRefused):
            messages += [job.message for job in await jobs(self._target) if job.name == failed.name]
            reasons += [f"target: {message}" for message in messages[1:]]
        slots = slots_of(failed.ranges)
        if is_cured_by_smaller_batches(messages, buffer_overflowed=overflowed):
            if len(slots) > 1:
                keys = sum(progress.counts.get(slot, 0) for slot in slots)
                self._limit_batches(keys // 2)
                message = "node %s: a batch of %d slots and %d keys was too large, smaller ones follow: %s"
                log.warning(message, self._nodes[0].id, len(slots), keys, self._too_large(reasons, overflowed))
                return
            raise MigrationFailed([f"slot {slots[0]} alone is too large", self._too_large(reasons, overflowed)])
        raise MigrationFailed(reasons)

    def _too_large(self, reasons: Sequence[str], overflowed: bool) -> str:
        limit = (
            f"client-output-buffer-limit replica of node {self._nodes[0].id} is too small for the writes of its clients"
        )
        return "; ".join([limit, *reasons] if overflowed else reasons)

    async def _require_allowed(self) -> None:
        """Cancel all jobs and raise MigrationFailed if the task is cancelled or the target cannot write to its disk."""
        try:
            await require_durable(self._target)
            if self._control.is_cancelled():
                raise MigrationFailed(["cancelled"])
        except MigrationFailed:
            await cancel_all(self._source)
            raise

    async def _require_progress(self, clock: "_StallClock", transfer: Transfer, current: Sequence[Job]) -> None:
        """Cancel all jobs and raise MigrationFailed if no counter has changed for too long. Time does not count while
        the jobs wait for a child process of the source, which ends by itself."""
        states = sorted(job.state for job in current)
        clock.note((transfer.keys, transfer.bytes // _NOISE_BYTES, *states))
        status = None
        if clock.unchanged_seconds > _CHILD_SECONDS and _wait_for_child(current):
            status = await child_status(self._nodes[0], self._source)
        if status:
            self._begin_wait(str(status), cause=status.cause, seconds=clock.unchanged_seconds)
            clock.restart_limit()
            return
        self._end_wait()
        if clock.counted_seconds > self._stalled_seconds:
            await cancel_all(self._source)
            raise MigrationFailed([f"no progress for {self._stalled_seconds:g} s"])

    async def _wait_while(self, busy: NodeBusy) -> None:
        """Wait until the target accepts commands again; its jobs go on then. Raises MigrationFailed if the task is
        cancelled. Raises NodeBusy for the source, whose jobs fail at once: other moves of the host can use its permit.
        """
        if busy.node_id == self._nodes[0].id:
            raise busy
        self._busy = busy
        self._begin_wait(busy.status)
        while True:
            await asyncio.sleep(_BUSY_POLL_SECONDS)
            if self._control.is_cancelled():
                with suppress(*NODE_GONE, NodeRefused):
                    await cancel_all(self._source)
                raise MigrationFailed(["cancelled"])
            with suppress(NodeBusy):
                await self._target.ping()
                return

    def _begin_wait(self, status: str, *, cause: str = "", seconds: float = 0.0) -> None:
        """Record and show what the jobs wait for, and give the permit back. Log it once."""
        self._control.begin_wait(status, cause=cause, seconds=seconds)
        if self._permit:
            self._permit.give_back()
        if not self._shown:
            log.warning("migration of node %s: %s", self._nodes[0].id, status)
        self._shown = status

    def _end_wait(self) -> None:
        """End the wait, and log that the jobs continue."""
        if self._shown:
            self._control.end_wait()
            log.warning("migration of node %s: no longer %s", self._nodes[0].id, self._shown)
            self._shown = ""


class _Look(NamedTuple):
    """All jobs of the source, those that are followed, and the bytes that it had exported."""

    every: list[Job]
    current: list[Job]
    exported: int


class _StallClock:
    """Time without a change of any counter."""

    def __init__(self) -> None:
        self._last: tuple[object, ...] = ()
        self.restart()

    def restart(self) -> None:
        self._changed_at = self._counted_from = time.monotonic()

    def restart_limit(self) -> None:
        """Do not count the time until now."""
        self._counted_from = time.monotonic()

    def note(self, counters: tuple[object, ...]) -> None:
        if counters != self._last:
            self._last = counters
            self.restart()

    @property
    def unchanged_seconds(self) -> float:
        return time.monotonic() - self._changed_at

    @property
    def counted_seconds(self) -> float:
        return time.monotonic() - self._counted_from


def _of_names(every: Sequence[Job], names: Set[str]) -> list[Job]:
    current = [job for job in every if job.name in names]
    if len(current) < len(names):
        raise MigrationFailed(["the source has restarted"])
    return current


def _awaits_snapshot(job: Job) -> bool:
    return job.operation == "EXPORT" and job.awaits_snapshot


def _wait_for_child(current: Sequence[Job]) -> bool:
    active = [job for job in current if not job.ended]
    return all(job.awaits_snapshot for job in active) and any(job.state == _WAITS_FOR_CHILD for job in active)


def _pause(transfer: Transfer, since_start: float) -> float:
    """Return the seconds until the next poll. Polls cost processor time of the nodes, so they are frequent only at the
    end."""
    if transfer.increment != "to start":
        return _SHORT_POLL_SECONDS
    return min(max(since_start * _POLL_SHARE, _SHORT_POLL_SECONDS), _POLL_SECONDS)
