"""What a node says of the slots it gives and gets: its migration jobs, keys by slot, bytes sent. And how to stop it.

Source: CLUSTER GETSLOTMIGRATIONS, CANCELSLOTMIGRATIONS, COUNTKEYSINSLOT and INFO of Valkey 9.1; states as observed.
"""

import asyncio
from collections.abc import Iterable
from typing import Any

import msgspec

from cachewright.valkey.client import NodeRefused, Valkey, ask
from cachewright.valkey.slots import SlotRange

_POLL_SECONDS = 0.1
_COUNTED_AT_ONCE = 512  # about half a millisecond of the node's time
_ENDED = {"success", "failed", "cancelled"}
# Run read-only: a script that might write waits while a handover holds writes back.
_COUNT_KEYS = """
local counts = {}
for position, slot in ipairs(ARGV) do counts[position] = redis.call('CLUSTER', 'COUNTKEYSINSLOT', slot) end
return counts
"""


class Job(msgspec.Struct, frozen=True):
    """One row of GETSLOTMIGRATIONS."""

    name: str
    operation: str
    slot_ranges: str = ""
    target_node: str = ""  # a job that a restart has cut off names only what it knows
    state: str = ""
    message: str = ""

    @property
    def ended(self) -> bool:
        return self.state in _ENDED

    @property
    def ranges(self) -> list[SlotRange]:
        spans = [span.split("-") for span in self.slot_ranges.split()]
        return [SlotRange(int(span[0]), int(span[-1])) for span in spans]


async def count_keys(client: Valkey, slots: Iterable[int]) -> dict[int, int]:
    """Keys in each slot, those that are still being imported included."""
    wanted = list(slots)
    counts: list[int] = []
    for start in range(0, len(wanted), _COUNTED_AT_ONCE):
        counts += await ask(client, "EVAL_RO", _COUNT_KEYS, 0, *wanted[start : start + _COUNTED_AT_ONCE])
    return dict(zip(wanted, counts, strict=True))


async def jobs(client: Valkey) -> list[Job]:
    """This node's migrations, newest first, as far back as its log goes."""
    return jobs_in(await ask(client, "CLUSTER GETSLOTMIGRATIONS"))


def jobs_in(rows: Any) -> list[Job]:
    """What GETSLOTMIGRATIONS answers, by whichever client and protocol it was asked."""
    return [msgspec.convert(_fields(row), Job) for row in rows]


async def cancel_all(client: Valkey) -> None:
    """Returns when the node exports nothing any more; slots that were not handed over stay with it."""
    try:
        await ask(client, "CLUSTER CANCELSLOTMIGRATIONS")
    except NodeRefused as refusal:
        if "No migrations ongoing" not in str(refusal):
            raise
    while any(not job.ended and job.operation == "EXPORT" for job in await jobs(client)):
        await asyncio.sleep(_POLL_SECONDS)


async def exported_bytes(client: Valkey) -> int:
    """Bytes of slots that the node has sent to others since it started."""
    return int((await client.info("stats"))["total_net_cluster_slot_export_bytes"])


async def fork_seconds(client: Valkey) -> float:
    """How long the node's last fork has kept it from answering."""
    return int((await client.info("stats"))["latest_fork_usec"]) / 1e6


def _fields(row: Any) -> dict[str, Any]:
    return row if isinstance(row, dict) else dict(zip(row[::2], row[1::2], strict=True))
