"""Migration jobs of a node: start, list and cancel jobs, count keys by slot and exported bytes.

Source: CLUSTER GETSLOTMIGRATIONS, CANCELSLOTMIGRATIONS, COUNTKEYSINSLOT and INFO of Valkey 9.1; states as observed.
"""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import msgspec

from cachewright.model.instances import Node
from cachewright.valkey.access import Access
from cachewright.valkey.client import NODE_GONE, NodeRefused, Valkey, ask, connect
from cachewright.valkey.slots import SlotRange

EXPORTED = "total_net_cluster_slot_export_bytes"
"""Field of INFO stats: bytes of slots that the node has sent since its start."""

_POLL_SECONDS = 0.1
_SLOTS_PER_COUNT = 512  # takes the node about half a millisecond
_ENDED = {"success", "failed", "cancelled"}
_BEFORE_SNAPSHOT = {
    "connecting",
    "sending-auth-command",
    "reading-auth-response",
    "sending-establish-command",
    "reading-establish-response",
    "waiting-to-snapshot",
}
# Runs read-only, because scripts that may write have to wait while a handover pauses writes.
_COUNT_KEYS = """
local counts = {}
for position, slot in ipairs(ARGV) do counts[position] = redis.call('CLUSTER', 'COUNTKEYSINSLOT', slot) end
return counts
"""
_GRANTED = "failover-granted"
# A script is atomic, so no job can be granted a handover between the check and the end of the jobs.
_CANCEL_UNLESS_GRANTED = """
for _, job in ipairs(redis.call('CLUSTER', 'GETSLOTMIGRATIONS')) do
    local fields = {}
    for at = 1, #job, 2 do fields[job[at]] = job[at + 1] end
    if fields.operation == 'EXPORT' and fields.state == ARGV[1] then return 0 end
end
redis.call('CLUSTER', 'CANCELSLOTMIGRATIONS')
return 1
"""


class Job(msgspec.Struct, frozen=True):
    """A row of GETSLOTMIGRATIONS.

    :ivar remaining_repl_size: bytes of writes that the source has not sent yet.
    """

    name: str
    operation: str
    slot_ranges: str = ""
    target_node: str = ""  # missing if a restart of the node has ended the job
    state: str = ""
    message: str = ""
    remaining_repl_size: int = 0

    @property
    def ended(self) -> bool:
        return self.state in _ENDED

    @property
    def awaits_snapshot(self) -> bool:
        """Whether its snapshot has not begun."""
        return self.state in _BEFORE_SNAPSHOT

    @property
    def ranges(self) -> list[SlotRange]:
        spans = [span.split("-") for span in self.slot_ranges.split()]
        return [SlotRange(int(span[0]), int(span[-1])) for span in spans]


async def count_keys(client: Valkey, slots: Iterable[int]) -> dict[int, int]:
    """Return the number of keys in each slot, including those of an import in progress."""
    numbers = list(slots)
    counts: list[int] = []
    for start in range(0, len(numbers), _SLOTS_PER_COUNT):
        counts += await ask(client, "EVAL_RO", _COUNT_KEYS, 0, *numbers[start : start + _SLOTS_PER_COUNT])
    return dict(zip(numbers, counts, strict=True))


async def jobs(client: Valkey) -> list[Job]:
    """Return the jobs in the node's log, newest first."""
    return jobs_in(await ask(client, "CLUSTER GETSLOTMIGRATIONS"))


def jobs_in(rows: Any) -> list[Job]:
    """Parse the reply to GETSLOTMIGRATIONS of any client and protocol."""
    return [msgspec.convert(_fields(row), Job, strict=False) for row in rows]


async def start_jobs(client: Valkey, batches: Iterable[SlotRange], target_id: str) -> None:
    """Start exports of the batches to another node. The source makes one snapshot at a time, of any job that waits for
    one: their order is not defined."""
    words = [word for batch in batches for word in ("SLOTSRANGE", batch.first, batch.last, "NODE", target_id)]
    if words:
        await ask(client, "CLUSTER MIGRATESLOTS", *words)


async def cancel_exports(node: Node, access: Access) -> None:
    """Cancel all exports of the node and wait until they have ended. Ignores a node that does not answer or refuses."""
    with suppress(*NODE_GONE, NodeRefused):
        async with connect(node, access) as client:
            await cancel_all(client)


def is_handover_granted(job: Job) -> bool:
    """Whether the source has granted the handover, so that the target may take the slots at any moment."""
    return job.operation == "EXPORT" and job.state == _GRANTED


async def cancel_all(client: Valkey) -> None:
    """Cancel all exports of the node and wait until they have ended. It keeps slots that it has not handed over.

    An export whose handover is granted cannot be cancelled any more: the node would serve writes again, and discard
    them when the target takes the slots. Such an export completes, or ends after a time limit of the node."""
    try:
        while not await ask(client, "EVAL_RO", _CANCEL_UNLESS_GRANTED, 0, _GRANTED):
            await asyncio.sleep(_POLL_SECONDS)
    except NodeRefused as refusal:
        if "No migrations ongoing" not in str(refusal):
            raise
    while any(not job.ended and job.operation == "EXPORT" for job in await jobs(client)):
        await asyncio.sleep(_POLL_SECONDS)


async def exported_bytes(client: Valkey) -> int:
    """Return the bytes of slots that the node has sent since its start."""
    return int((await client.info("stats"))[EXPORTED])


async def fork_seconds(client: Valkey) -> float:
    """Return the seconds for which the node's last fork has blocked it."""
    return int((await client.info("stats"))["latest_fork_usec"]) / 1e6


def _fields(row: Any) -> dict[str, Any]:
    return row if isinstance(row, dict) else dict(zip(row[::2], row[1::2], strict=True))
