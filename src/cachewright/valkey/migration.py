"""Moving one slot range from its owner to another node: Valkey's atomic slot migration, watched while it runs.

The source forks and writes a snapshot of the range to the target, streams what is written meanwhile, pauses writes
for the last of it and hands the range over. What has arrived is read on the target: the importing connection's
`tot-net-in` is the bytes of this very migration (it is told apart by its address, which is the source's exporting
connection's), and CLUSTER COUNTKEYSINSLOT counts the keys that are there but hidden until the handover.

Source: CLUSTER MIGRATESLOTS, GETSLOTMIGRATIONS and CLIENT LIST of Valkey 9.1; states as observed.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any, Literal

import msgspec

from cachewright.store.records import Node
from cachewright.valkey.client import NODE_GONE, NodeRefused, Valkey, ask, connect
from cachewright.valkey.slots import SlotRange, overlap
from cachewright.valkey.topology import view

Phase = Literal["to start", "in progress", "finished", "failed"]

_POLL_SECONDS = 0.1
_FIRST_POLL_SECONDS = 0.03  # a small range is over before it has been looked at otherwise
_SAMPLED_SLOTS = 128
_COUNTED_AT_ONCE = 512  # about half a millisecond of the node's time
_BEFORE_SNAPSHOT = {
    "connecting",
    "sending-auth-command",
    "reading-auth-response",
    "sending-establish-command",
    "reading-establish-response",
    "waiting-to-snapshot",
}
_ENDED = {"success", "failed", "cancelled"}
_COUNT_KEYS = """
local counts = {}
for position, slot in ipairs(ARGV) do counts[position] = redis.call('CLUSTER', 'COUNTKEYSINSLOT', slot) end
return counts
"""


class MigrationFailed(Exception):
    """The range, or part of it, is still with its source. `reasons` are what either side says of it."""

    def __init__(self, reasons: list[str]) -> None:
        super().__init__("; ".join(reasons) or "no reason given")
        self.reasons = reasons


class Transfer(msgspec.Struct, frozen=True, kw_only=True):
    """How far a range is. `share` counts all of the data, 0 to 1; it is 1 when only the handover is left."""

    full: Phase
    increment: Phase
    keys: int
    bytes: int
    share: float


class Job(msgspec.Struct, frozen=True):
    """One row of GETSLOTMIGRATIONS."""

    name: str
    operation: str
    slot_ranges: str
    source_node: str
    target_node: str
    state: str
    message: str

    @property
    def ended(self) -> bool:
        return self.state in _ENDED

    def covers(self, part: SlotRange) -> bool:
        spans = [span.split("-") for span in self.slot_ranges.split()]
        return any(int(span[0]) <= part.first and part.last <= int(span[-1]) for span in spans)


async def count_keys(client: Valkey, slots: list[int]) -> list[int]:
    """Keys in each slot, those that are still being imported included."""
    counts: list[int] = []
    for start in range(0, len(slots), _COUNTED_AT_ONCE):
        counts += await ask(client, "EVAL", _COUNT_KEYS, 0, *slots[start : start + _COUNTED_AT_ONCE])
    return counts


async def jobs(client: Valkey) -> list[Job]:
    """This node's migrations, newest first, as far back as its log goes."""
    rows = await ask(client, "CLUSTER GETSLOTMIGRATIONS")
    return [msgspec.convert(_fields(row), Job) for row in rows]


class Mover:
    """Moves one range. `bytes_per_key` is what a key of this instance takes on the way, by experience."""

    def __init__(self, source: Node, target: Node, part: SlotRange, password: str | None, bytes_per_key: float) -> None:
        self._source = source
        self._target = target
        self._part = part
        self._password = password
        self._bytes_per_key = bytes_per_key
        step = max(len(part) // _SAMPLED_SLOTS, 1)
        self._sample = list(range(part.first, part.last + 1, step))
        self._bytes = 0
        self._expected_sample = 0
        self._expected_keys = 0

    async def ensure(self, report: Callable[[Transfer], None]) -> None:
        """Returns when the target owns the whole range. MigrationFailed where it does not.

        A migration of the range that is under way already is followed, not started again.
        """
        try:
            async with connect(self._source, self._password) as source, connect(self._target, self._password) as target:
                left = overlap((await view(source)).members[self._source.id].slots, self._part)
                slots = [slot for part in left for slot in range(part.first, part.last + 1)]
                self._expected_keys = sum(await count_keys(source, slots))
                self._expected_sample = sum(await count_keys(source, [slot for slot in self._sample if slot in slots]))
                for part in left:
                    name = await self._begin(source, part)
                    await self._follow(source, target, name, report)
                await self._require_owned(target)
                keys = sum(await count_keys(target, list(range(self._part.first, self._part.last + 1))))
        except NODE_GONE as error:
            raise MigrationFailed([f"a node does not answer: {error}"]) from error
        except NodeRefused as error:
            raise MigrationFailed([str(error)]) from error
        report(Transfer(full="finished", increment="finished", keys=keys, bytes=self._bytes, share=1.0))

    async def _begin(self, source: Valkey, part: SlotRange) -> str:
        """Starts the migration, or finds it under way. The job's name."""
        for _ in range(2):
            for job in await jobs(source):
                if not job.ended and job.target_node == self._target.id and job.covers(part):
                    return job.name
            await ask(source, "CLUSTER MIGRATESLOTS", "SLOTSRANGE", part.first, part.last, "NODE", self._target.id)
        raise MigrationFailed(["the source has no record of the migration it accepted"])

    async def _follow(self, source: Valkey, target: Valkey, name: str, report: Callable[[Transfer], None]) -> None:
        begun = time.monotonic()
        while True:
            job = await _job(source, name)
            if job is None:
                raise MigrationFailed(["the source has restarted"])
            if job.state == "success":
                return
            if job.ended:
                other = await _job(target, name)
                reasons = [f"{side}: {row.message}" for side, row in (("source", job), ("target", other)) if row]
                raise MigrationFailed(reasons)
            report(await self._transfer(source, target, job))
            await asyncio.sleep(_FIRST_POLL_SECONDS if time.monotonic() - begun < 1 else _POLL_SECONDS)

    async def _transfer(self, source: Valkey, target: Valkey, job: Job) -> Transfer:
        """Bytes are exact. The share is bytes over bytes expected, and what is expected is corrected all the time:
        what has come, plus the keys that have not, at what a key takes."""
        if job.state in _BEFORE_SNAPSHOT:
            return Transfer(full="to start", increment="to start", keys=0, bytes=0, share=0.0)
        exporting = await ask(source, "CLIENT LIST", "FLAGS", "E")
        importing = await ask(target, "CLIENT LIST", "FLAGS", "i")
        addresses = {client["laddr"] for client in exporting}
        self._bytes = max(
            [self._bytes, *(int(client["tot-net-in"]) for client in importing if client["addr"] in addresses)]
        )
        arrived = sum(await count_keys(target, self._sample))
        of_keys = min(arrived / self._expected_sample, 1.0) if self._expected_sample else 1.0
        keys = round(of_keys * self._expected_keys)
        measured = self._bytes / keys if keys else self._bytes_per_key
        per_key = of_keys * measured + (1 - of_keys) * self._bytes_per_key
        to_come = (self._expected_keys - keys) * per_key
        streaming = job.state != "snapshotting"
        share = 1.0 if streaming else self._bytes / (self._bytes + to_come) if self._bytes else 0.0
        return Transfer(
            full="finished" if streaming else "in progress",
            increment="in progress" if streaming else "to start",
            keys=self._expected_keys if streaming else keys,
            bytes=self._bytes,
            share=share,
        )

    async def _require_owned(self, target: Valkey) -> None:
        mine = (await view(target)).members[self._target.id].slots
        if overlap(mine, self._part) != [self._part]:
            raise MigrationFailed(["the target does not own all of the range"])


async def _job(client: Valkey, name: str) -> Job | None:
    return next((job for job in await jobs(client) if job.name == name), None)


def _fields(row: Any) -> dict[str, Any]:
    return row if isinstance(row, dict) else dict(zip(row[::2], row[1::2], strict=True))
