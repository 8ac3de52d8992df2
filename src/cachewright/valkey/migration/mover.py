"""Moving one slot range from its owner to another node: Valkey's atomic slot migration, watched while it runs.

The source forks and writes a snapshot of the slots to the target, streams what is written meanwhile, pauses writes for
the last of it, hands the slots over and deletes its copy. That deletion holds up every client of the source for as long
as it takes, so a range is moved in pieces of a limited number of keys, several queued at the source at once.

Bytes are the source's own count of what it has exported; a source moves one range at a time. Keys are counted on the
target, where CLUSTER COUNTKEYSINSLOT sees them though they are hidden until the handover. See docs/decisions/0003,
0006 and 0017.

Source: CLUSTER MIGRATESLOTS, GETSLOTMIGRATIONS and INFO of Valkey 9.1; states as observed.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Protocol

import msgspec

from cachewright.errors import CachewrightError
from cachewright.model.instances import Node
from cachewright.valkey.access import Access
from cachewright.valkey.client import NODE_GONE, NodeRefused, Valkey, ask, connect, connect_again
from cachewright.valkey.client_activity import client_activity
from cachewright.valkey.migration.batch_size import LARGE_AT_ONCE, LARGE_KEYS
from cachewright.valkey.migration.jobs import Job, cancel_all, count_keys, exported_bytes, fork_seconds, jobs
from cachewright.valkey.migration.latency_probe import probe_latency
from cachewright.valkey.migration.source_state import MigrationState
from cachewright.valkey.migration.transfer import Transfer, TransferProgress
from cachewright.valkey.slots import SlotRange, cut, overlap, slots_of
from cachewright.valkey.topology import view

_SHORT_POLL_SECONDS, _POLL_SECONDS = 0.02, 0.1
_FITNESS_SECONDS = 1.0  # in which this range is not looked at
_LATE_BY = 0.1  # a piece is found to be over so much later, of the time that it took
_TRICKLE_BYTES = 64 * 1024  # nodes that stand still greet each other on and on, and what they say is counted
_CALM_HZ, _BUSY_HZ = 10, 100  # how often a second a node looks


class MigrationFailed(CachewrightError):
    """The range, or part of it, is still with its source. `reasons` are what either side says of it."""

    def __init__(self, reasons: list[str]) -> None:
        super().__init__("; ".join(reasons) or "no reason given")
        self.reasons = reasons


class MigrationControl(Protocol):
    """What may hold a move back."""

    async def before_pieces(self, too_much: Callable[[float], Awaitable[bool]]) -> None:
        """Returns when the next pieces may begin: where there is a ceiling, in seconds, not while it is `too_much` for
        that."""

    def gently(self) -> bool:
        """One piece at a time, so that `before_pieces` is asked before each."""

    def cancelled(self) -> bool:
        """Nothing more is to move."""

    async def hindered(self) -> bool:
        """What comes after this range may have to wait, so it is not begun before its turn."""

    def prioritizes_speed(self) -> bool:
        """Clients of the source need not be spared."""


class Next(msgspec.Struct, frozen=True):
    """The range that its source moves after this one."""

    target: Node
    part: SlotRange


class Mover:
    """Moves one range.

    `bytes_per_key` is what a key of this instance takes on the way, by experience; a move whose counters stand still
    for `stalled_seconds` is given up. A piece that clients of the source may feel waits for its turn.

    A source whose clients need not be spared is told of what comes `after` as well, so that it does not wait for
    anybody in between. Whose move that is finds it under way; how far the source had got when this one ended is
    handed on through `state`.
    """

    def __init__(
        self,
        source: Node,
        target: Node,
        part: SlotRange,
        *,
        access: Access,
        bytes_per_key: float,
        hold: MigrationControl,
        stalled_seconds: float,
        state: MigrationState,
        after: Next | None,
    ) -> None:
        self._source = source
        self._target = target
        self._part = part
        self._access = access
        self._bytes_per_key = bytes_per_key
        self._hold = hold
        self._stalled_seconds = stalled_seconds
        self._state = state
        self._after = after
        self._begun_after: Next | None = None
        self._arrivals = TransferProgress({}, bytes_per_key, 0)
        self._exported = 0
        self._busy = False
        self._portions = state.batch_sizer(source.id, bytes_per_key)

    async def ensure(self, report: Callable[[Transfer], None]) -> None:
        """Returns when the target owns the whole range. MigrationFailed where it does not.

        Pieces that are under way already are followed, not started again.
        """
        try:
            async with (
                connect(self._source, self._access) as source,
                connect(self._target, self._access) as target,
                AsyncExitStack() as busy,
            ):
                self._exported = await exported_bytes(source)
                counts = await count_keys(source, slots_of(await self._left(source, self._part)))
                before = self._state.carry_over.pop(self._source.id, self._exported)
                self._arrivals = TransferProgress(counts, self._bytes_per_key, min(before, self._exported))
                while True:
                    known = await self._own_jobs(source)
                    if under_way := [job for job in known if not job.ended]:
                        await self._pass_by(source, under_way)
                        await self._follow(source, target, {job.name for job in under_way}, report)
                    elif left := await self._left(source, self._part):
                        await _require_durable(source, target)
                        await self._hold.before_pieces(lambda ceiling: self._too_much(source, target, ceiling))
                        await connect_again(source, target)
                        self._portions.look(
                            await client_activity(source), prioritizes_speed=self._hold.prioritizes_speed()
                        )
                        if self._portions.careful and not self._busy:
                            self._busy = True
                            await busy.enter_async_context(_often(source))
                            await busy.enter_async_context(_often(target))
                        await self._move(source, target, left, known, report)
                    else:
                        break
                keys = sum((await count_keys(target, slots_of([self._part]))).values())
                await self._require_owned(target)
                await _require_durable(target)
                if self._begun_after:
                    await self._hand_on(source, self._begun_after, keys)
        except NODE_GONE as error:
            raise MigrationFailed([f"a node does not answer: {error}"]) from error
        except NodeRefused as error:
            raise MigrationFailed([str(error)]) from error
        came = self._arrivals.came(self._exported)
        report(Transfer(full="finished", increment="finished", keys=keys, bytes=came, share=1.0))

    async def _hand_on(self, source: Valkey, after: Next, keys: int) -> None:
        """What comes after goes on, unless the task has been held back since, or its target is no longer fit for it.
        The source may have answered late that the `keys` of this range have gone, and the next may be on its way."""
        if await self._hold.hindered() or not await self._is_fit(after.target):
            await cancel_all(source)
            return
        async with connect(after.target, self._access) as target:
            ahead = sum((await count_keys(target, slots_of([after.part]))).values())
        self._exported = self._arrivals.parted(self._exported, keys, ahead)
        self._state.carry_over[self._source.id] = self._exported

    async def _left(self, source: Valkey, part: SlotRange) -> list[SlotRange]:
        return overlap((await view(source)).members[self._source.id].slots, part)

    async def _move(
        self,
        source: Valkey,
        target: Valkey,
        left: list[SlotRange],
        known: list[Job],
        report: Callable[[Transfer], None],
    ) -> None:
        """The next pieces, from their begin to their end."""
        if not self._portions.careful:
            await self._follow(source, target, await self._begin(source, left, known), report)
            return
        async with self._state.permits, probe_latency(self._source, self._access) as pulse:
            await connect_again(source, target)
            self._state.last_latency[self._source.id] = pulse
            if self._hold.cancelled():
                raise MigrationFailed(["cancelled"])
            if self._hold.prioritizes_speed():
                return  # said while this waited for its turn
            await self._follow(source, target, await self._begin(source, left, known), report)
            self._portions.felt(pulse.longest, await fork_seconds(source))

    async def _too_much(self, source: Valkey, target: Valkey, ceiling: float) -> bool:
        """A node answers more slowly than that, in seconds, or clients have not yet got over the last piece."""
        pulse = self._state.last_latency.get(self._source.id)
        if pulse and not pulse.outweighed(ceiling, time.monotonic()):
            return True
        return await _latency(source, target) > ceiling

    async def _begin(self, source: Valkey, left: list[SlotRange], known: list[Job]) -> set[str]:
        """Starts the next pieces. The names of their jobs, which are none of those `known` before."""
        keys, at_once = self._portions.next()
        pieces = cut(left, self._arrivals.counts, keys)
        now = pieces[: 1 if self._hold.gently() else at_once]
        await _start(source, now, self._target)
        if not self._portions.careful and now == pieces:
            await self._begin_after(source)
        return {job.name for job in await self._own_jobs(source)} - {job.name for job in known}

    async def _pass_by(self, source: Valkey, under_way: Iterable[Job]) -> None:
        """Somebody has started pieces of this range: the move before, or this one in an earlier life. What comes after
        is begun where these are all that is left of it."""
        if self._hold.prioritizes_speed() or not (await client_activity(source)).connected:
            begun = {part for job in under_way for part in job.ranges}
            if set(slots_of(await self._left(source, self._part))) <= set(slots_of(begun)):
                await self._begin_after(source)

    async def _begin_after(self, source: Valkey) -> None:
        """Once. What is refused now the move whose range it is will be told."""
        after = self._after
        if after is None or self._begun_after:
            return
        if await self._hold.hindered() or not await self._is_fit(after.target):
            return
        self._begun_after = after
        left = await self._left(source, after.part)
        pieces = cut(left, await count_keys(source, slots_of(left)), LARGE_KEYS)
        with suppress(NodeRefused):
            await _start(source, pieces[:LARGE_AT_ONCE], after.target)

    async def _is_fit(self, node: Node) -> bool:
        """To be a target later. Its own move looks at that too, but finds its pieces under way."""
        try:
            async with connect(node, self._access, _FITNESS_SECONDS) as target:
                await _require_durable(target)
        except (MigrationFailed, *NODE_GONE, NodeRefused):
            return False
        return True

    async def _own_jobs(self, source: Valkey) -> list[Job]:
        return [
            job
            for job in await jobs(source)
            if job.operation == "EXPORT" and job.target_node == self._target.id and overlap(job.ranges, self._part)
        ]

    async def _follow(
        self, source: Valkey, target: Valkey, names: set[str], report: Callable[[Transfer], None]
    ) -> None:
        begun = changed = time.monotonic()
        last: tuple[object, ...] = ()
        while True:
            now = {job.name: job for job in await jobs(source) if job.name in names}
            if len(now) < len(names):
                raise MigrationFailed(["the source has restarted"])
            failed = [job for job in now.values() if job.ended and job.state != "success"]
            if failed:
                await self._give_up(source, target, failed[-1])
            self._exported = await exported_bytes(source)  # at once, as the next range begins soon
            if all(job.ended for job in now.values()):
                return
            states = {job.state for job in now.values()}
            transfer = await self._arrivals.look(target, states, self._exported)
            report(transfer)
            try:
                await _require_durable(target)
            except MigrationFailed:
                await cancel_all(source)
                raise
            if self._hold.cancelled():
                await cancel_all(source)
                raise MigrationFailed(["cancelled"])
            marks = (transfer.keys, transfer.bytes // _TRICKLE_BYTES, *sorted(job.state for job in now.values()))
            if marks != last:
                last, changed = marks, time.monotonic()
            elif time.monotonic() - changed > self._stalled_seconds:
                await cancel_all(source)
                raise MigrationFailed([f"no progress for {self._stalled_seconds:g} s"])
            await asyncio.sleep(_pause(transfer, time.monotonic() - begun))

    async def _give_up(self, source: Valkey, target: Valkey, failed: Job) -> None:
        """The reason of a failure is often on the other side's log."""
        await cancel_all(source)
        reasons = [f"source: {failed.message or failed.state}"]
        with suppress(*NODE_GONE, NodeRefused):
            reasons += [f"target: {job.message}" for job in await jobs(target) if job.name == failed.name]
        raise MigrationFailed(reasons)

    async def _require_owned(self, target: Valkey) -> None:
        mine = (await view(target)).members[self._target.id].slots
        if overlap(mine, self._part) != [self._part]:
            raise MigrationFailed(["the target does not own all of the range"])


@asynccontextmanager
async def _often(client: Valkey) -> AsyncIterator[None]:
    """A node that moves many small pieces looks more often how far it is. Its next start undoes it."""
    await client.config_set("hz", _BUSY_HZ)
    try:
        yield
    finally:
        with suppress(*NODE_GONE, NodeRefused):
            await client.config_set("hz", _CALM_HZ)


def _pause(transfer: Transfer, since_begin: float) -> float:
    """Seconds until the next look. Looking takes processor time from the nodes, so it is done often only at the end."""
    if transfer.increment != "to start":
        return _SHORT_POLL_SECONDS
    return min(max(since_begin * _LATE_BY, _SHORT_POLL_SECONDS), _POLL_SECONDS)


async def _require_durable(*clients: Valkey) -> None:
    """A node that cannot write its append-only file keeps what it gets in memory alone: it must get no slots, since
    their source deletes its copy."""
    for client in clients:
        if (await client.info("persistence"))["aof_last_write_status"] != "ok":
            raise MigrationFailed(["a node cannot write its append-only file"])


async def _latency(*clients: Valkey) -> float:
    """Seconds that the slowest of the nodes takes to answer, the better of two tries."""
    slowest = 0.0
    for client in clients:
        tries = []
        for _ in range(2):
            asked = time.perf_counter()
            await client.ping()
            tries.append(time.perf_counter() - asked)
        slowest = max(slowest, min(tries))
    return slowest


async def _start(source: Valkey, pieces: Iterable[SlotRange], target: Node) -> None:
    words = [word for piece in pieces for word in ("SLOTSRANGE", piece.first, piece.last, "NODE", target.id)]
    if words:
        await ask(source, "CLUSTER MIGRATESLOTS", *words)
