"""Move one slot range to another node, in the mode that the task has at the time of each batch.

Bytes are the source's count of exported bytes, and the memory of keys that moved one by one; a source moves one range
at a time. Keys are counted on the target, where CLUSTER COUNTKEYSINSLOT includes them before the handover. See
docs/decisions/0003, 0006, 0017, 0044 and 0045.
"""

import time
from collections.abc import Callable
from contextlib import AsyncExitStack

from cachewright.valkey.client import NODE_GONE, NodeBusy, NodeRefused, Valkey, connect, connect_again
from cachewright.valkey.client_activity import ClientActivity, client_activity
from cachewright.valkey.migration.batch_mover import BatchMover
from cachewright.valkey.migration.failure import MigrationFailed
from cachewright.valkey.migration.gentle_mover import GentleMover
from cachewright.valkey.migration.jobs import count_keys, exported_bytes
from cachewright.valkey.migration.move import Move, Next, RunningMove
from cachewright.valkey.migration.node_state import latency, require_durable
from cachewright.valkey.migration.transfer import Transfer, TransferProgress
from cachewright.valkey.slots import overlap, slots_of
from cachewright.valkey.topology import own_slots

__all__ = ["Move", "Mover", "Next"]

_IDLE_SECONDS = 0.5
"""Time after which a node may have closed an idle connection. The shortest `timeout` is a second."""


class Mover:
    """Performs one move."""

    def __init__(self, move: Move) -> None:
        self._move = move
        self._sizer = move.state.batch_sizer(move.source.id, move.size.bytes_per_key)

    async def ensure(self, report: Callable[[Transfer], None]) -> None:
        """Move the range and return when the target owns all of it. Batches that are in progress are followed.

        Raises MigrationFailed if the source still owns the range, or part of it; NodeBusy if a node is busy.
        """
        move = self._move
        try:
            async with (
                connect(move.source, move.access) as source,
                connect(move.target, move.access) as target,
                move.state.settings.during_move((move.source, source), (move.target, target)),
                AsyncExitStack() as opened,
            ):
                running = await self._start_counting(source, target, report)
                batches = BatchMover(running, self._sizer, opened)
                await self._move_all(running, batches, GentleMover(running, batches, opened))
                keys = sum((await count_keys(target, slots_of([move.part]))).values())
                await self._require_owned(target)
                await require_durable(target)
                await batches.carry_over()
        except NODE_GONE as error:
            raise MigrationFailed([f"a node does not answer: {error}"]) from error
        except NodeBusy:
            raise
        except NodeRefused as error:
            raise MigrationFailed([str(error)]) from error
        transferred = running.progress.bytes_transferred(running.exported)
        report(Transfer(full="finished", increment="finished", keys=keys, bytes=transferred, share=1.0))

    async def _start_counting(self, source: Valkey, target: Valkey, report: Callable[[Transfer], None]) -> RunningMove:
        move = self._move
        exported = await exported_bytes(source)
        owned = await own_slots(source)
        counts = await count_keys(source, slots_of(overlap(owned, move.part)))
        before = move.state.carry_over.pop(move.source.id, exported)
        before = before if before <= exported else 0  # the counter may have restarted at zero
        if move.share and move.control.mode() != "fastest":
            move.share.see(clients=(await client_activity(source)).connected > 0)
        progress = TransferProgress(counts, move.size, before, move.share)
        return RunningMove(move=move, source=source, target=target, progress=progress, exported=exported, report=report)

    async def _move_all(self, running: RunningMove, batches: BatchMover, gentle: GentleMover) -> None:
        """Follow or start batches until the source owns no slot of the range."""
        source, target, control = running.source, running.target, self._move.control
        moved_ahead = True
        while True:
            if await batches.follow_started():
                moved_ahead = False
                continue
            remaining = await running.remaining()
            if not remaining:
                if moved_ahead:  # its jobs may have ended after the counter was read
                    running.exported = await exported_bytes(source)
                return
            moved_ahead = False
            await require_durable(source, target)
            asked_at = time.monotonic()
            async with self._move.state.settings.during_pause(
                self._move.access, (self._move.source, source), (self._move.target, target)
            ):
                await control.wait_until_allowed(lambda ceiling: self._exceeds_ceiling(source, target, ceiling))
            if time.monotonic() - asked_at > _IDLE_SECONDS:
                await connect_again(source, target)
            mode = control.mode()
            activity = None if mode == "fastest" else await client_activity(source)
            if activity is None or not self._disturbs(activity):
                await batches.move_large(remaining)
            elif mode == "gentle":
                await gentle.move_group(remaining, activity)
            else:
                await batches.move_small(remaining)

    def _disturbs(self, activity: ClientActivity) -> bool:
        """Whether a large batch would disturb clients of the source. In the mode `gentle`, idle ones count."""
        self._sizer.observe(activity)
        return self._sizer.has_clients or (self._move.control.mode() == "gentle" and activity.connected > 0)

    async def _exceeds_ceiling(self, source: Valkey, target: Valkey, ceiling: float) -> bool:
        """Whether a node takes more than `ceiling` seconds to answer, or the last batch has used up the budget of slow
        requests."""
        probe = self._move.state.probes.last(self._move.source.id)
        if probe and not probe.is_within_budget(ceiling, time.monotonic()):
            return True
        return await latency(source, target) > ceiling

    async def _require_owned(self, target: Valkey) -> None:
        if overlap(await own_slots(target), self._move.part) != [self._move.part]:
            raise MigrationFailed(["the target does not own all of the range"])
