"""Move slots with the shortest waits for clients: the mode `gentle`.

Slots with small values move key by key. A slot with a large value moves alone, by an atomic migration, because MIGRATE
would block both nodes for as long as the value takes.

While keys of a slot move, the source redirects clients to the target (ASK). Some libraries then fail if they have not
heard of the target. Therefore a new node gets its first slots by an atomic migration, after which CLUSTER SLOTS lists
it. If such a library is connected, the node gets all of its slots this way, in batches that are as small as is useful.
One library may fail at any redirection under load: while it is connected, all slots move this way.
"""

import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, aclosing, suppress
from itertools import takewhile

from cachewright.valkey.client import NODE_GONE, NodeBusy, NodeRefused
from cachewright.valkey.client_activity import ClientActivity
from cachewright.valkey.key_sizes import large_values
from cachewright.valkey.migration.batch_mover import BatchMover
from cachewright.valkey.migration.failure import MigrationFailed
from cachewright.valkey.migration.key_batches import LARGE_BYTES
from cachewright.valkey.migration.key_mover import MOST_LISTED, KeyMover, Listing, key_mover
from cachewright.valkey.migration.move import RunningMove
from cachewright.valkey.migration.open_slots import close_unused_imports
from cachewright.valkey.migration.transfer import Transfer
from cachewright.valkey.slots import SlotRange, slots_of
from cachewright.valkey.topology import view

_GROUP_SLOTS, _GROUP_KEYS = 64, 1_000
"""Slots that are open together. Each change of slots is one write of the nodes' configuration, and a command on several
keys of an open slot may have to be repeated by its client."""

_BATCH_KEYS = 2_000
"""Keys of an atomic batch. Smaller ones would not make the longest wait shorter, which the fork causes."""

_REPORT_SECONDS = 0.1
_SEARCH_SECONDS = 2.0


class GentleMover:
    """Moves groups of slots of one range."""

    def __init__(self, running: RunningMove, batches: BatchMover, opened: AsyncExitStack) -> None:
        """:param opened: closes connections at the end of the move."""
        self._running = running
        self._batches = batches
        self._opened = opened
        self._keys: KeyMover | None = None

    async def move_group(self, remaining: Sequence[SlotRange], activity: ClientActivity) -> None:
        """Move the first slots of `remaining`. Raises MigrationFailed if it is interrupted."""
        move = self._running.move
        unknown = move.to_new_node and (activity.needs_known_nodes or not await self._target_has_slots())
        if activity.fails_at_ask or unknown:
            await self._batches.move_small(remaining, _BATCH_KEYS)
            return
        slots = self._group(slots_of(remaining))
        keys = await self._key_mover()
        listed = await keys.list_keys(slots)
        small = list(takewhile(lambda slot: max(listed[slot].values(), default=0) <= LARGE_BYTES, slots))
        if small and await self._is_large(slots[0]):
            small = []
        if not small:
            await self._batches.move_small([SlotRange(slots[0], slots[0])])
            return
        async with move.state.targets.turn(move.target.id, "keys"), move.state.key_permits:
            await self._move_keys(keys, small, listed, remaining)

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

    async def _is_large(self, slot: int) -> bool:
        """Whether a slot has a value that is too large for MIGRATE. For slots with too many keys to list them all."""
        if self._running.progress.counts[slot] <= MOST_LISTED:
            return False
        part = [SlotRange(slot, slot)]
        found = await large_values(self._running.source, part, LARGE_BYTES, seconds=_SEARCH_SECONDS)
        return bool(found.values)

    async def _key_mover(self) -> KeyMover:
        """Return the mover, which is opened once: its connections serve all groups."""
        if self._keys is None:
            move = self._running.move
            self._keys = await self._opened.enter_async_context(
                key_mover(move.source, move.target, move.access, move.state)
            )
        return self._keys

    async def _move_keys(
        self, keys: KeyMover, slots: Sequence[int], listed: Listing, remaining: Sequence[SlotRange]
    ) -> None:
        progress, counts = self._running.progress, self._running.progress.counts
        moved_before = sum(counts.values()) - sum(counts[slot] for slot in slots_of(remaining))
        keys_before, bytes_before = keys.keys, keys.bytes
        reported_at = 0.0
        try:
            async with aclosing(keys.move(slots, listed)) as moving:
                async for _ in moving:
                    if self._running.move.control.is_cancelled():
                        raise MigrationFailed(["cancelled"])
                    if time.monotonic() - reported_at > _REPORT_SECONDS:
                        reported_at = time.monotonic()
                        self._report(moved_before + keys.keys - keys_before, keys.bytes - bytes_before)
        except NodeBusy:
            await self._close_unused_imports()
            raise
        finally:
            progress.bytes_by_key += keys.bytes - bytes_before
        self._report(moved_before + keys.keys - keys_before, 0)

    async def _close_unused_imports(self) -> None:
        """Close slots that the target has opened, but the source has not. Other sources need the target."""
        move = self._running.move
        with suppress(*NODE_GONE, NodeRefused):
            views = {move.source.id: await view(self._running.source), move.target.id: await view(self._running.target)}
            await close_unused_imports(move.target, views[move.target.id], views, move.access)

    def _report(self, moved: int, moving_bytes: int) -> None:
        progress = self._running.progress
        self._running.report(
            Transfer(
                full="in progress",
                increment="to start",
                keys=moved,
                bytes=progress.bytes_transferred(self._running.exported) + moving_bytes,
                share=progress.by_key(moved),
            )
        )
