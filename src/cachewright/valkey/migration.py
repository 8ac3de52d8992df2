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
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Literal, Protocol

import msgspec

from cachewright.store.records import Node
from cachewright.valkey.client import NODE_GONE, NodeRefused, Valkey, ask, connect
from cachewright.valkey.clients import custom, heartbeat
from cachewright.valkey.portions import Portions
from cachewright.valkey.slot_jobs import Job, cancel_all, count_keys, exported_bytes, fork_seconds, jobs
from cachewright.valkey.slots import SlotRange, cut, overlap
from cachewright.valkey.topology import view

Phase = Literal["to start", "in progress", "finished", "failed"]

_POLL_SECONDS = 0.1
_SHORT_POLL_SECONDS = 0.03  # small pieces are over before they have been looked at otherwise
_SAMPLED_SLOTS = 128
_TRICKLE_BYTES = 64 * 1024  # nodes that stand still greet each other on and on, and what they say is counted
_CALM_HZ, _BUSY_HZ = 10, 100  # how often a second a node looks whether the next piece may begin
_BEFORE_SNAPSHOT = {
    "connecting",
    "sending-auth-command",
    "reading-auth-response",
    "sending-establish-command",
    "reading-establish-response",
    "waiting-to-snapshot",
}


class MigrationFailed(Exception):
    """The range, or part of it, is still with its source. `reasons` are what either side says of it."""

    def __init__(self, reasons: list[str]) -> None:
        super().__init__("; ".join(reasons) or "no reason given")
        self.reasons = reasons


class Transfer(msgspec.Struct, frozen=True, kw_only=True):
    """How far a range is. `share` counts all of the data, 0 to 1; it is 1 when only handovers are left."""

    full: Phase
    increment: Phase
    keys: int
    bytes: int
    share: float


class Hold(Protocol):
    """What may hold a move back."""

    async def before_pieces(self, latency_ms: Callable[[], Awaitable[float]]) -> None:
        """Returns when the next pieces may begin."""

    def gently(self) -> bool:
        """One piece at a time, so that `before_pieces` is asked before each."""

    def cancelled(self) -> bool:
        """Nothing more is to move."""


class Mover:
    """Moves one range.

    `bytes_per_key` is what a key of this instance takes on the way, by experience; a move whose counters stand still
    for `stalled_seconds` is given up. A piece that clients of the source may feel waits for one of `turns`.
    """

    def __init__(
        self,
        source: Node,
        target: Node,
        part: SlotRange,
        *,
        password: str | None,
        bytes_per_key: float,
        hold: Hold,
        stalled_seconds: float,
        turns: asyncio.Semaphore,
    ) -> None:
        self._source = source
        self._target = target
        self._part = part
        self._password = password
        self._bytes_per_key = bytes_per_key
        self._hold = hold
        self._stalled_seconds = stalled_seconds
        self._turns = turns
        self._exported_before = 0
        self._bytes = 0
        self._sample: list[int] = []
        self._expected_sample = 0
        self._expected_keys = 0
        self._counts: dict[int, int] = {}
        self._portions = Portions(bytes_per_key)

    async def ensure(self, report: Callable[[Transfer], None]) -> None:
        """Returns when the target owns the whole range. MigrationFailed where it does not.

        Pieces that are under way already are followed, not started again.
        """
        try:
            async with (
                connect(self._source, self._password) as source,
                connect(self._target, self._password) as target,
                _busy(source),
                _busy(target),
            ):
                await self._expect(source)
                self._exported_before = await exported_bytes(source)
                while left := await self._left(source):
                    await _require_durable(source, target)
                    await self._hold.before_pieces(lambda: _latency_ms(source, target))
                    self._portions.look(await custom(source))
                    await self._move(source, target, left, report)
                keys = sum((await count_keys(target, range(self._part.first, self._part.last + 1))).values())
                await self._require_owned(target)
                await _require_durable(target)
                self._bytes = await exported_bytes(source) - self._exported_before
        except NODE_GONE as error:
            raise MigrationFailed([f"a node does not answer: {error}"]) from error
        except NodeRefused as error:
            raise MigrationFailed([str(error)]) from error
        report(Transfer(full="finished", increment="finished", keys=keys, bytes=self._bytes, share=1.0))

    async def _left(self, source: Valkey) -> list[SlotRange]:
        return overlap((await view(source)).members[self._source.id].slots, self._part)

    async def _expect(self, source: Valkey) -> None:
        """How many keys are to come, in all and in the slots that will be looked at on the way."""
        left = _slots(await self._left(source))
        self._counts = await count_keys(source, left)
        self._sample = left[:: max(len(left) // _SAMPLED_SLOTS, 1)]
        self._expected_sample = sum(self._counts[slot] for slot in self._sample)
        self._expected_keys = sum(self._counts.values())

    async def _move(
        self, source: Valkey, target: Valkey, left: list[SlotRange], report: Callable[[Transfer], None]
    ) -> None:
        """The next pieces, from their begin to their end."""
        if not self._portions.careful:
            await self._follow(source, target, await self._begin(source, left), report)
            return
        async with self._turns, heartbeat(self._source, self._password) as pulse:
            if self._hold.cancelled():
                raise MigrationFailed(["cancelled"])
            await self._follow(source, target, await self._begin(source, left), report)
            self._portions.felt(pulse.longest, await fork_seconds(source))

    async def _begin(self, source: Valkey, left: list[SlotRange]) -> set[str]:
        """Starts the next pieces, or finds some under way. The names of their jobs."""
        known = await self._own_jobs(source)
        under_way = {job.name for job in known if not job.ended}
        if under_way:
            return under_way
        keys, at_once = self._portions.next()
        pieces = cut(left, self._counts, keys)[: 1 if self._hold.gently() else at_once]
        words = [word for piece in pieces for word in ("SLOTSRANGE", piece.first, piece.last, "NODE", self._target.id)]
        await ask(source, "CLUSTER MIGRATESLOTS", *words)
        return {job.name for job in await self._own_jobs(source)} - {job.name for job in known}

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
            if all(job.ended for job in now.values()):
                return
            transfer = await self._transfer(source, target, now)
            report(transfer)
            try:
                await _require_durable(target)
            except MigrationFailed:
                await cancel_all(source)
                raise
            if self._hold.cancelled():
                await cancel_all(source)
                raise MigrationFailed(["cancelled"])
            states = sorted(job.state for job in now.values())
            marks = (transfer.keys, transfer.bytes // _TRICKLE_BYTES, *states)
            if marks != last:
                last, changed = marks, time.monotonic()
            elif time.monotonic() - changed > self._stalled_seconds:
                await cancel_all(source)
                raise MigrationFailed([f"no progress for {self._stalled_seconds:g} s"])
            at_its_end = transfer.increment != "to start" or time.monotonic() - begun < 1
            await asyncio.sleep(_SHORT_POLL_SECONDS if at_its_end else _POLL_SECONDS)

    async def _give_up(self, source: Valkey, target: Valkey, failed: Job) -> None:
        """The reason of a failure is often on the other side's log."""
        await cancel_all(source)
        reasons = [f"source: {failed.message or failed.state}"]
        with suppress(*NODE_GONE, NodeRefused):
            reasons += [f"target: {job.message}" for job in await jobs(target) if job.name == failed.name]
        raise MigrationFailed(reasons)

    async def _transfer(self, source: Valkey, target: Valkey, now: Mapping[str, Job]) -> Transfer:
        """Bytes are exact. The share is bytes over bytes expected, and what is expected is corrected all the time:
        what has come, plus the keys that have not, at what a key takes."""
        self._bytes = came = await exported_bytes(source) - self._exported_before
        arrived = sum((await count_keys(target, self._sample)).values())
        of_keys = min(arrived / self._expected_sample, 1.0) if self._expected_sample else 1.0
        keys = round(of_keys * self._expected_keys)
        measured = came / keys if keys else self._bytes_per_key
        per_key = of_keys * measured + (1 - of_keys) * self._bytes_per_key
        to_come = (self._expected_keys - keys) * per_key
        states = {job.state for job in now.values()}
        moving = bool(states - _BEFORE_SNAPSHOT) or keys > 0
        copied = not states & (_BEFORE_SNAPSHOT | {"snapshotting"}) and of_keys >= 1.0
        streamed = bool(states - _BEFORE_SNAPSHOT - {"snapshotting"})
        return Transfer(
            full="finished" if copied else "in progress" if moving else "to start",
            increment="in progress" if streamed else "to start",
            keys=keys,
            bytes=came,
            share=came / (came + to_come) if came else 0.0,
        )

    async def _require_owned(self, target: Valkey) -> None:
        mine = (await view(target)).members[self._target.id].slots
        if overlap(mine, self._part) != [self._part]:
            raise MigrationFailed(["the target does not own all of the range"])


@asynccontextmanager
async def _busy(client: Valkey) -> AsyncIterator[None]:
    """A node that moves many pieces looks more often whether the next may begin. Its next start undoes it."""
    await client.config_set("hz", _BUSY_HZ)
    try:
        yield
    finally:
        with suppress(*NODE_GONE, NodeRefused):
            await client.config_set("hz", _CALM_HZ)


async def _require_durable(*clients: Valkey) -> None:
    """A node that cannot write its append-only file keeps what it gets in memory alone: it must get no slots, since
    their source deletes its copy."""
    for client in clients:
        if (await client.info("persistence"))["aof_last_write_status"] != "ok":
            raise MigrationFailed(["a node cannot write its append-only file"])


async def _latency_ms(*clients: Valkey) -> float:
    """How long the slowest of the nodes takes to answer, the better of two tries."""
    slowest = 0.0
    for client in clients:
        tries = []
        for _ in range(2):
            asked = time.perf_counter()
            await client.ping()
            tries.append((time.perf_counter() - asked) * 1000)
        slowest = max(slowest, min(tries))
    return slowest


def _slots(ranges: Iterable[SlotRange]) -> list[int]:
    return [slot for part in ranges for slot in range(part.first, part.last + 1)]
