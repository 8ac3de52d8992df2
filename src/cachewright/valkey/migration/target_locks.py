"""Turns of the sources that move slots to the same target.

Valkey refuses an atomic migration to a node that imports slots key by key from any other node ("Slots are being
manually imported"). Several sources may move slots to it at the same time if all of them use the same way.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Literal

Way = Literal["batches", "keys"]


class TargetLocks:
    """Turns by id of the target."""

    def __init__(self) -> None:
        self._targets: dict[str, _Target] = defaultdict(_Target)

    @asynccontextmanager
    async def turn(self, node_id: str, way: Way) -> AsyncIterator[None]:
        """Wait until no source moves slots to the target in the other way, and let none do so within the `with` block.
        First come, first served."""
        target = self._targets[node_id]
        try:
            await target.enter(way)
            try:
                yield
            finally:
                target.leave()
        finally:
            if target.is_free:
                self._targets.pop(node_id, None)


class _Target:
    def __init__(self) -> None:
        self._way: Way | None = None
        self._moves = 0
        self._waiting: deque[tuple[Way, asyncio.Future[None]]] = deque()

    @property
    def is_free(self) -> bool:
        return not self._moves and not self._waiting

    async def enter(self, way: Way) -> None:
        if not self._waiting and self._admits(way):
            self._admit(way)
            return
        admitted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((way, admitted))
        try:
            await admitted
        except asyncio.CancelledError:
            if admitted.cancelled():
                with suppress(ValueError):  # others have skipped it already
                    self._waiting.remove((way, admitted))
                self._admit_waiting()
            else:
                self.leave()
            raise

    def leave(self) -> None:
        self._moves -= 1
        self._admit_waiting()

    def _admit_waiting(self) -> None:
        while self._waiting:
            way, admitted = self._waiting[0]
            if not self._admits(way):
                return
            self._waiting.popleft()
            if admitted.cancelled():
                continue
            self._admit(way)
            admitted.set_result(None)

    def _admits(self, way: Way) -> bool:
        return not self._moves or self._way == way

    def _admit(self, way: Way) -> None:
        self._way = way
        self._moves += 1
