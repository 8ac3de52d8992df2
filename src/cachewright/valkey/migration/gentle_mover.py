"""Move slots so that clients hardly wait: the mode `gentle`.

Slots with small values move key by key. A slot with a large value moves alone, by an atomic migration, because MIGRATE
would hold up both nodes for the time that the value takes.

While keys of a slot move, the source sends clients to the target (ASK). Some libraries fail then if they have not heard
of the target. Therefore a new node gets its first slots by an atomic migration, so that it is in CLUSTER SLOTS; and if
such a library is connected, it gets all slots so, in batches that are as small as is useful.
"""

import time
from collections.abc import Sequence
from contextlib import aclosing

from cachewright.valkey.client_activity import ClientActivity
from cachewright.valkey.key_sizes import large_values
from cachewright.valkey.migration.batch_mover import BatchMover
from cachewright.valkey.migration.failure import MigrationFailed
from cachewright.valkey.migration.key_batches import LARGE_BYTES
from cachewright.valkey.migration.key_mover import MOST_LISTED, KeyMover, key_mover
from cachewright.valkey.migration.move import RunningMove
from cachewright.valkey.migration.transfer import Transfer
from cachewright.valkey.slots import SlotRange, slots_of
from cachewright.valkey.topology import view

_GROUP_SLOTS, _GROUP_KEYS = 16, 1_000
"""Slots that are open together. Each change of slots is one write of the nodes' configuration, and a command on several
keys of an open slot may have to be repeated by its client."""

_BATCH_KEYS = 2_000
"""Keys of an atomic batch. Smaller ones would not make the longest wait shorter, which the fork causes."""

_REPORT_SECONDS = 0.1
_SEARCH_SECONDS = 2.0


class GentleMover:
    """Moves groups of slots of one range."""

    def __init__(self, running: RunningMove, batches: BatchMover) -> None:
        self._running = running
        self._batches = batches

    async def move_group(self, remaining: Sequence[SlotRange], activity: ClientActivity) -> None:
        """Move the first slots of `remaining`. Raises MigrationFailed if it is interrupted."""
        move = self._running.move
        if move.to_new_node and (activity.needs_known_nodes or not await self._target_has_slots()):
            await self._batches.move_small(remaining, _BATCH_KEYS)
            return
        slots = self._group(slots_of(remaining))
        async with key_mover(move.source, move.target, move.access, move.state) as keys:
            large = await self._with_large_values(keys, slots)
            small = slots[: min((slots.index(slot) for slot in large), default=len(slots))]
            if small:
                async with move.state.permits:
                    await self._move_keys(keys, small, remaining)
                return
        await self._batches.move_small([SlotRange(slots[0], slots[0])])

    async def _target_has_slots(self) -> bool:
        target = self._running.move.target.id
        return bool((await view(self._running.target)).members[target].slots)

    def _group(self, slots: Sequence[int]) -> list[int]:
        counts = self._running.progress.counts
        group: list[int] = []
        keys = 0
        for slot in slots[:_GROUP_SLOTS]:
            keys += counts[slot]
            if group and keys > _GROUP_KEYS:
                break
            group.append(slot)
        return group

    async def _with_large_values(self, keys: KeyMover, slots: Sequence[int]) -> set[int]:
        """Return the slots with a value that is too large for MIGRATE."""
        if self._running.progress.counts[slots[0]] <= MOST_LISTED:
            return await keys.with_large_values(slots)
        ranges = [SlotRange(slot, slot) for slot in slots]
        found = await large_values(self._running.source, ranges, LARGE_BYTES, seconds=_SEARCH_SECONDS)
        return set(found.by_slot())

    async def _move_keys(self, keys: KeyMover, slots: Sequence[int], remaining: Sequence[SlotRange]) -> None:
        progress, counts = self._running.progress, self._running.progress.counts
        moved_before = sum(counts.values()) - sum(counts[slot] for slot in slots_of(remaining))
        reported_at = 0.0
        try:
            async with aclosing(keys.move(slots)) as moving:
                async for _ in moving:
                    if self._running.move.control.is_cancelled():
                        raise MigrationFailed(["cancelled"])
                    if time.monotonic() - reported_at > _REPORT_SECONDS:
                        reported_at = time.monotonic()
                        self._report(moved_before + keys.keys, keys.bytes)
        finally:
            progress.bytes_by_key += keys.bytes
        self._report(moved_before + keys.keys, 0)

    def _report(self, moved: int, moving_bytes: int) -> None:
        progress = self._running.progress
        expected = sum(progress.counts.values())
        self._running.report(
            Transfer(
                full="in progress",
                increment="to start",
                keys=moved,
                bytes=progress.bytes_transferred(self._running.exported) + moving_bytes,
                share=min(moved / expected, 1.0) if expected else 0.0,
            )
        )
