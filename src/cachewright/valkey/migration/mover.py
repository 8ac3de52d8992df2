"""Move one slot range to another node by Valkey's atomic slot migration, and follow its progress.

The source forks and writes a snapshot of the slots to the target, streams subsequent writes, pauses writes for the last
of them, hands the slots over and deletes its copy. That deletion blocks every client of the source, so a range moves in
batches of a limited number of keys. Several batches can be queued at the source together.

Bytes are the source's count of exported bytes; a source moves one range at a time. Keys are counted on the target,
where CLUSTER COUNTKEYSINSLOT includes them before the handover. See docs/decisions/0003, 0006 and 0017.

Source: CLUSTER MIGRATESLOTS, GETSLOTMIGRATIONS and INFO of Valkey 9.1; states as observed.
"""

import time
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack, suppress

import msgspec

from cachewright.model.instances import Node
from cachewright.valkey.access import Access
from cachewright.valkey.client import NODE_GONE, NodeBusy, NodeRefused, Valkey, connect, connect_again
from cachewright.valkey.client_activity import client_activity
from cachewright.valkey.migration.batch_size import LARGE_KEYS, LARGE_QUEUED
from cachewright.valkey.migration.control import MigrationControl
from cachewright.valkey.migration.failure import MigrationFailed
from cachewright.valkey.migration.job_follower import JobFollower
from cachewright.valkey.migration.jobs import (
    Job,
    cancel_all,
    count_keys,
    exported_bytes,
    fork_seconds,
    jobs,
    start_jobs,
)
from cachewright.valkey.migration.latency_probe import probe_latency
from cachewright.valkey.migration.node_state import can_be_target, fast_cron, latency, require_durable
from cachewright.valkey.migration.source_state import MigrationState
from cachewright.valkey.migration.transfer import Transfer, TransferProgress
from cachewright.valkey.slots import SlotRange, cut, overlap, slots_of
from cachewright.valkey.topology import view


class Next(msgspec.Struct, frozen=True):
    """The range that the same source moves after the current one."""

    target: Node
    part: SlotRange


class Mover:
    """The move of one range.

    A batch that may increase latency for clients of the source waits for a permit of the host. If clients need no
    protection, the mover also starts the `following` range, so that the source does not idle in between. The mover of
    that range finds it in progress, and `state` carries over the bytes that the source had sent when this range ended.
    """

    def __init__(
        self,
        source: Node,
        target: Node,
        part: SlotRange,
        *,
        access: Access,
        bytes_per_key: float,
        control: MigrationControl,
        stalled_seconds: float,
        state: MigrationState,
        following: Next | None,
    ) -> None:
        """Prepare a move of the slots `part`.

        :param bytes_per_key: measured size of a key of this instance on the network.
        :param stalled_seconds: time without a change of any counter after which the move fails.
        """
        self._source = source
        self._target = target
        self._part = part
        self._access = access
        self._bytes_per_key = bytes_per_key
        self._control = control
        self._stalled_seconds = stalled_seconds
        self._state = state
        self._following = following
        self._started_following: Next | None = None
        self._progress = TransferProgress({}, bytes_per_key, 0)
        self._exported = 0
        self._batch_sizer = state.batch_sizer(source.id, bytes_per_key)

    async def ensure(self, report: Callable[[Transfer], None]) -> None:
        """Move the range and return when the target owns all of it. Batches that are in progress are followed.

        Raises MigrationFailed if the source still owns the range, or part of it; NodeBusy if a node answers again
        later.
        """
        try:
            async with (
                connect(self._source, self._access) as source,
                connect(self._target, self._access) as target,
                AsyncExitStack() as crons,
            ):
                await self._start_counting(source)
                await self._move_all(source, target, crons, report)
                keys = sum((await count_keys(target, slots_of([self._part]))).values())
                await self._require_owned(target)
                await require_durable(target)
                if self._started_following:
                    await self._carry_over(source, self._started_following, keys)
        except NODE_GONE as error:
            raise MigrationFailed([f"a node does not answer: {error}"]) from error
        except NodeBusy:
            raise
        except NodeRefused as error:
            raise MigrationFailed([str(error)]) from error
        transferred = self._progress.bytes_transferred(self._exported)
        report(Transfer(full="finished", increment="finished", keys=keys, bytes=transferred, share=1.0))

    async def _start_counting(self, source: Valkey) -> None:
        self._exported = await exported_bytes(source)
        counts = await count_keys(source, slots_of(await self._remaining(source, self._part)))
        exported_before = self._state.carry_over.pop(self._source.id, self._exported)
        self._progress = TransferProgress(counts, self._bytes_per_key, min(exported_before, self._exported))

    async def _move_all(
        self, source: Valkey, target: Valkey, crons: AsyncExitStack, report: Callable[[Transfer], None]
    ) -> None:
        """Follow or start batches until the source owns no slot of the range. `crons` resets settings of the nodes."""
        has_fast_crons = False
        while True:
            own_jobs = await self._own_jobs(source)
            if in_progress := [job for job in own_jobs if not job.ended]:
                await self._start_following_of(source, in_progress)
                await self._follow(source, target, {job.name for job in in_progress}, report)
                continue
            remaining = await self._remaining(source, self._part)
            if not remaining:
                return
            await require_durable(source, target)
            await self._control.wait_until_allowed(lambda ceiling: self._exceeds_ceiling(source, target, ceiling))
            await connect_again(source, target)
            activity = await client_activity(source)
            self._batch_sizer.observe(activity, prioritizes_speed=self._control.prioritizes_speed())
            if self._batch_sizer.protects_clients and not has_fast_crons:
                has_fast_crons = True
                await crons.enter_async_context(fast_cron(source))
                await crons.enter_async_context(fast_cron(target))
            await self._move_batches(source, target, remaining, own_jobs, report)

    async def _move_batches(
        self,
        source: Valkey,
        target: Valkey,
        remaining: list[SlotRange],
        own_jobs: list[Job],
        report: Callable[[Transfer], None],
    ) -> None:
        """Start the next batches and follow them until they end."""
        if not self._batch_sizer.protects_clients:
            await self._follow(source, target, await self._start_batches(source, remaining, own_jobs), report)
            return
        async with self._state.permits, probe_latency(self._source, self._access) as probe:
            await connect_again(source, target)
            self._state.last_latency[self._source.id] = probe
            if self._control.is_cancelled():
                raise MigrationFailed(["cancelled"])
            if self._control.prioritizes_speed():
                return  # the priority has changed during the wait for a permit
            await self._follow(source, target, await self._start_batches(source, remaining, own_jobs), report)
            self._batch_sizer.record_latency(probe.longest, await fork_seconds(source))

    async def _exceeds_ceiling(self, source: Valkey, target: Valkey, ceiling: float) -> bool:
        """Whether a node takes more than `ceiling` seconds to answer, or the last batch has used up the budget of slow
        requests."""
        probe = self._state.last_latency.get(self._source.id)
        if probe and not probe.is_within_budget(ceiling, time.monotonic()):
            return True
        return await latency(source, target) > ceiling

    async def _start_batches(self, source: Valkey, remaining: list[SlotRange], own_jobs: list[Job]) -> set[str]:
        """Start the next batches and return the names of their jobs. `own_jobs` are the jobs before."""
        keys, queued = self._batch_sizer.next_batches()
        batches = cut(remaining, self._progress.counts, keys)
        next_batches = batches[: 1 if self._control.one_batch_at_a_time() else queued]
        await start_jobs(source, next_batches, self._target.id)
        if not self._batch_sizer.protects_clients and next_batches == batches:
            await self._start_following(source)
        return {job.name for job in await self._own_jobs(source)} - {job.name for job in own_jobs}

    async def _start_following_of(self, source: Valkey, in_progress: Iterable[Job]) -> None:
        """Start the following range if the jobs in progress, which an earlier mover has started, complete this one."""
        if self._control.prioritizes_speed() or not (await client_activity(source)).connected:
            moving = {part for job in in_progress for part in job.ranges}
            if set(slots_of(await self._remaining(source, self._part))) <= set(slots_of(moving)):
                await self._start_following(source)

    async def _start_following(self, source: Valkey) -> None:
        """Start the following range once. Refusals of the source are ignored: the mover of that range reports them."""
        following = self._following
        if following is None or self._started_following:
            return
        if await self._control.is_throttled() or not await can_be_target(following.target, self._access):
            return
        self._started_following = following
        remaining = await self._remaining(source, following.part)
        batches = cut(remaining, await count_keys(source, slots_of(remaining)), LARGE_KEYS)
        with suppress(NodeRefused):
            await start_jobs(source, batches[:LARGE_QUEUED], following.target.id)

    async def _carry_over(self, source: Valkey, following: Next, keys: int) -> None:
        """Store at which count of the source's bytes the following range starts. Cancel that range instead if the task
        has been throttled or its target is no longer suitable.

        `keys` is the number of keys of this range. Some keys of the following range may have arrived too, because the
        source reports the end of this range with a delay."""
        if await self._control.is_throttled() or not await can_be_target(following.target, self._access):
            await cancel_all(source)
            return
        async with connect(following.target, self._access) as target:
            following_keys = sum((await count_keys(target, slots_of([following.part]))).values())
        self._exported = self._progress.split_at(self._exported, keys, following_keys)
        self._state.carry_over[self._source.id] = self._exported

    async def _remaining(self, source: Valkey, part: SlotRange) -> list[SlotRange]:
        """Return the slots of a range that the source still owns."""
        return overlap((await view(source)).members[self._source.id].slots, part)

    async def _own_jobs(self, source: Valkey) -> list[Job]:
        return [
            job
            for job in await jobs(source)
            if job.operation == "EXPORT" and job.target_node == self._target.id and overlap(job.ranges, self._part)
        ]

    async def _follow(
        self, source: Valkey, target: Valkey, names: set[str], report: Callable[[Transfer], None]
    ) -> None:
        """Report the progress of jobs until all of them have succeeded, or given way to smaller ones. Otherwise cancel
        them and raise MigrationFailed."""
        follower = JobFollower(
            (self._source, self._target),
            (source, target),
            control=self._control,
            stalled_seconds=self._stalled_seconds,
            limit_batches=self._batch_sizer.limit,
        )
        self._exported = await follower.follow(names, self._progress, report)

    async def _require_owned(self, target: Valkey) -> None:
        owned = (await view(target)).members[self._target.id].slots
        if overlap(owned, self._part) != [self._part]:
            raise MigrationFailed(["the target does not own all of the range"])
