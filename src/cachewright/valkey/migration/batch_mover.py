"""Move slots in batches by Valkey's atomic slot migration: the modes `fastest` and `balanced`.

The source forks and writes a snapshot of the slots to the target, streams subsequent writes, pauses writes for the last
of them, hands the slots over and deletes its copy. That deletion blocks every client of the source, so a range moves in
batches of a limited number of keys. Several large batches can be queued at the source together.

Source: CLUSTER MIGRATESLOTS and GETSLOTMIGRATIONS of Valkey 9.1; states as observed.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence, Set
from contextlib import AsyncExitStack, suppress

from cachewright.model.tasks import MigrationMode
from cachewright.valkey.client import NODE_GONE, NodeRefused, connect, connect_again
from cachewright.valkey.client_activity import client_activity
from cachewright.valkey.migration.batch_size import (
    SHORT_KEYS,
    BatchSizer,
    large_batch_keys,
    large_batches,
    without_small_rest,
)
from cachewright.valkey.migration.failure import MigrationFailed
from cachewright.valkey.migration.job_follower import JobFollower
from cachewright.valkey.migration.jobs import (
    Job,
    cancel_all,
    count_keys,
    fork_seconds,
    jobs,
    start_jobs,
)
from cachewright.valkey.migration.move import Next, RunningMove
from cachewright.valkey.migration.moving_ahead import MovingAhead
from cachewright.valkey.migration.node_settings import check_often
from cachewright.valkey.migration.node_state import can_be_target
from cachewright.valkey.migration.permit import Permit
from cachewright.valkey.slots import SlotRange, cut, merged, overlap, slots_of


class BatchMover:
    """Moves batches of one range.

    A batch that may make clients of the source wait needs a permit of the host. If clients need no protection, the
    mover also starts the `following` range, so that the source does not idle in between. The mover of that range finds
    it in progress, and `state` carries over the bytes that the source had sent when this range ended.
    """

    def __init__(self, running: RunningMove, sizer: BatchSizer, opened: AsyncExitStack) -> None:
        """:param opened: closes connections at the end of the move."""
        self._running = running
        self._move = running.move
        self._state = running.move.state
        self._sizer = sizer
        self._opened = opened
        self._started_following: Next | None = None
        self._following_mode = running.move.control.mode()
        self._ahead: MovingAhead | None = None
        self._known_jobs: set[str] = set()
        self._checks_often = False

    async def follow_started(self) -> bool:
        """Follow the batches that are in progress. Return whether there were any."""
        in_progress = [job for job in await self._own_jobs() if not job.ended]
        if in_progress:
            keys = self._sizer.large_batch(self._move.control.mode())
            self._running.progress.expect_batches(keys, small=False)
            others = self._batches(await self._not_in(in_progress), keys)
            await self._follow_large({job.name for job in in_progress}, others, keys)
        return bool(in_progress)

    async def move_large(self, remaining: Sequence[SlotRange]) -> None:
        """Move large batches."""
        if self._checks_often:
            await check_often(False, self._running.source, self._running.target)
            self._checks_often = False
        keys = self._sizer.large_batch(self._move.control.mode())
        first, *others = self._batches(remaining, keys)
        self._running.progress.expect_batches(keys, small=False)
        async with self._state.targets.turn(self._move.target.id, "batches"):
            await self._follow_large(await self._start([first]), others, keys)

    async def move_small(self, remaining: Sequence[SlotRange], most_keys: int | None = None) -> None:
        """Move one batch that keeps the waits of clients short, and learn from them. `most_keys` limits it further."""
        source, target = self._running.source, self._running.target
        counts = self._running.progress.counts
        permit = Permit(self._state.permits)
        async with (
            self._state.targets.turn(self._move.target.id, "batches"),
            permit.hold(self._move.control.show),
            self._state.probes.probe(self._move.source, self._move.access) as probe,
        ):
            await connect_again(source, target)
            if self._move.control.is_cancelled():
                raise MigrationFailed(["cancelled"])
            if self._move.control.mode() == "fastest":
                return  # the mode has changed during the wait for a permit
            learned = self._sizer.small_batch(await fork_seconds(source))
            is_usual = self._state.waits.is_settled and not self._sizer.is_bound_by_bytes(learned)
            if self._move.share and most_keys is None and is_usual:
                self._move.share.record_small_batch(learned, new_target=self._move.to_new_node)
            at_once = min(learned, most_keys or learned)
            self._running.progress.expect_batches(at_once)
            left = sum(counts[slot] for slot in slots_of(remaining))
            batch = cut(remaining, counts, without_small_rest(at_once, left))[0]
            keys = sum(counts[slot] for slot in slots_of([batch]))
            self._checks_often = keys <= SHORT_KEYS
            await check_often(self._checks_often, source, target)
            await self._follow(await self._start([batch]), permit)
            if probe.has_measured:
                self._sizer.record(keys, probe.longest, await fork_seconds(source))

    async def carry_over(self) -> None:
        """Store at which count of the source's bytes the following range starts, if it was started. Cancel that range
        instead if the task has been throttled or has another mode, or its target is no longer suitable."""
        following, running = self._started_following, self._running
        if following is None:
            return
        control, access = self._move.control, self._move.access
        throttled, suitable = await asyncio.gather(control.is_throttled(), can_be_target(following.target, access))
        if throttled or not suitable or control.mode() != self._following_mode:
            await cancel_all(running.source)
            return
        if self._ahead:
            running.exported = self._ahead.without(running.exported)
        self._state.carry_over[self._move.source.id] = running.exported

    async def _start(self, batches: Sequence[SlotRange]) -> set[str]:
        """Start batches and return the names of their jobs."""
        before = set(self._known_jobs)
        await start_jobs(self._running.source, batches, self._move.target.id)
        return {job.name for job in await self._own_jobs()} - before

    async def _follow_large(self, names: set[str], batches: Sequence[SlotRange], keys: int) -> None:
        """Follow jobs and the other `batches` of the range, and start the following range after them. Batches that have
        to wait, because of clients, a new setting or a failure, are left.

        :param keys: most keys of a batch. After a failure it is small, and each batch is followed alone.
        """
        mode, left = self._move.control.mode(), deque(batches)
        continues = not left or keys == large_batch_keys(mode)

        async def start_next() -> Set[str]:
            nonlocal continues
            continues = continues and await self._may_continue(mode)
            if continues and left:
                return await self._start([left.popleft()])
            if continues:
                continues = False
                await self._start_following()
            return frozenset()

        if sum(self._running.progress.counts.values()) <= SHORT_KEYS:
            names = names | await start_next()  # the snapshot may end before the follower sees it
        await self._follow(names, start_next=start_next)

    async def _follow(
        self,
        names: set[str],
        permit: Permit | None = None,
        start_next: Callable[[], Awaitable[Set[str]]] | None = None,
    ) -> None:
        """Report the progress of jobs until all of them have succeeded, or were given up for smaller ones. Otherwise
        cancel them and raise MigrationFailed. Give the permit back if they have to wait."""
        running, move = self._running, self._move
        follower = JobFollower(
            (move.source, move.target),
            (running.source, running.target),
            control=move.control,
            stalled_seconds=move.stalled_seconds,
            limit_batches=self._sizer.limit,
            short=self._checks_often,
            permit=permit,
            start_next=start_next,
            ahead=lambda: self._ahead,
        )
        running.exported = await follower.follow(names, running.progress, running.report)

    async def _may_continue(self, mode: MigrationMode) -> bool:
        """Whether another large batch may begin, after those that began in this mode."""
        if await self._move.control.is_throttled() or self._move.control.mode() != mode:
            return False
        return await self._has_no_clients(mode)

    async def _has_no_clients(self, mode: MigrationMode) -> bool:
        """Whether no client is connected that the mode protects."""
        return mode == "fastest" or not (await client_activity(self._running.source)).connected

    def _batches(self, remaining: Sequence[SlotRange], most_keys: int) -> list[SlotRange]:
        return large_batches(remaining, self._running.progress.counts, most_keys)

    async def _not_in(self, in_progress: Iterable[Job]) -> list[SlotRange]:
        """Return the slots of the range that the source still owns, without those of jobs."""
        moving = set(slots_of([part for job in in_progress for part in job.ranges]))
        owned = slots_of(await self._running.remaining())
        return merged(SlotRange(slot, slot) for slot in owned if slot not in moving)

    async def _start_following(self) -> None:
        """Start the first batch of the following range, once. Refusals of the source are ignored: the mover of that
        range reports them."""
        following, source = self._move.following, self._running.source
        if following is None or self._started_following or self._move.control.mode() == "gentle":
            return
        if not await can_be_target(following.target, self._move.access):
            return
        self._started_following, self._following_mode = following, self._move.control.mode()
        remaining = await self._running.remaining(following.part)
        counts = await count_keys(source, slots_of(remaining))
        keys = self._sizer.large_batch(self._following_mode)
        with suppress(NodeRefused):
            await start_jobs(source, large_batches(remaining, counts, keys)[:1], following.target.id)
        started = {job.name for job in await self._jobs_of(following.target.id, following.part) if not job.ended}
        with suppress(*NODE_GONE):  # that is the concern of the mover of that range
            target = await self._opened.enter_async_context(connect(following.target, self._move.access))
            self._ahead = MovingAhead(
                following,
                target,
                names=started,
                counts=counts,
                batch_keys=keys,
                share=self._move.share,
            )

    async def _own_jobs(self) -> list[Job]:
        """Return the jobs of this range in the log of the source, and remember their names: only this mover starts
        such jobs."""
        own = await self._jobs_of(self._move.target.id, self._move.part)
        self._known_jobs = {job.name for job in own}
        return own

    async def _jobs_of(self, target_id: str, part: SlotRange) -> list[Job]:
        return [
            job
            for job in await jobs(self._running.source)
            if job.operation == "EXPORT" and job.target_node == target_id and overlap(job.ranges, part)
        ]
