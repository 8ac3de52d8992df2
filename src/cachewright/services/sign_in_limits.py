"""Limits on sign-ins: a fair queue for password checks, and a limit on wrong passwords. For one event loop.

A password check deliberately takes a core and 64 MB for a while, so only one runs at a time. To let other users sign in
during a flood, source addresses take turns and have few waiting places each, and names that have signed in from an
address before have a separate lane.
"""

import asyncio
import math
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import msgspec

from cachewright import errors
from cachewright.errors import ApiError

Key = TypeVar("Key")
Value = TypeVar("Value")

_PLACES_OF_ONE = 5
_PLACES = 200
_CROWDED = _PLACES // 2
_CROWDED_SECONDS = 1

_TRIES_OF_NAME = 10
_TRIES_OF_ADDRESS = 100
_WAIT_SECONDS = 60.0
_FORGOTTEN_SECONDS = 600.0
_MOST_KEPT = 10_000


class Lane(msgspec.Struct, frozen=True):
    """One of the queues that take turns.

    :ivar known: whether the lane is for names that have signed in from this address before.
    """

    address: str
    known: bool


class SignInQueue:
    def __init__(self) -> None:
        self._waiting: dict[Lane, deque[asyncio.Future[None]]] = {}  # ordered by next turn
        self._busy = False

    @asynccontextmanager
    async def turn(self, lane: Lane) -> AsyncIterator[None]:
        """Wait for a turn and hold it during the `with` block. Raises ApiError DCS.4962 if the lane is full."""
        await self._enter(lane)
        try:
            yield
        finally:
            self._leave()

    async def _enter(self, lane: Lane) -> None:
        if not self._busy:
            self._busy = True
            return
        if not self._has_place(lane):
            raise ApiError(errors.TOO_MANY_REQUESTS, retry_after=_CROWDED_SECONDS)
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(lane, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._leave()  # the turn was granted just before the cancellation
            else:
                self._cancel_wait(lane, turn)
            raise

    def _leave(self) -> None:
        """Pass the turn to the next lane, and move that lane to the end of the order."""
        while self._waiting:
            lane = next(iter(self._waiting))
            waiting = self._waiting.pop(lane)
            turn = waiting.popleft()
            if waiting:
                self._waiting[lane] = waiting
            if not turn.done():
                turn.set_result(None)
                return
        self._busy = False

    def _cancel_wait(self, lane: Lane, turn: asyncio.Future[None]) -> None:
        waiting = self._waiting.get(lane)
        if waiting and turn in waiting:
            waiting.remove(turn)
            if not waiting:
                del self._waiting[lane]

    def _has_place(self, lane: Lane) -> bool:
        """Whether another request may wait. If many wait already, each lane has one place, so that other addresses get
        places too."""
        all_waiting = sum(len(waiting) for other, waiting in self._waiting.items() if other.known == lane.known)
        most = _PLACES_OF_ONE if all_waiting < _CROWDED else 1
        return all_waiting < _PLACES and len(self._waiting.get(lane, ())) < most


class WrongPasswords:
    """Counts wrong passwords per address and per name from an address.

    After ten wrong passwords for a name, one try per minute is allowed, until one succeeds or ten minutes pass without
    a try. After a hundred within a minute from an address, it must wait, except for names that have signed in from
    there before.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._of_name: OrderedDict[tuple[str, str], tuple[int, float]] = OrderedDict()
        self._of_address: OrderedDict[str, deque[float]] = OrderedDict()
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()

    def is_known(self, address: str, name: str) -> bool:
        """Whether the name has signed in from this address."""
        return (address, name) in self._known

    def require_allowed(self, address: str, name: str) -> None:
        """Raise ApiError DCS.4962 if no password of this name from this address may be checked yet."""
        now = self._clock()
        count, last = self._of_name.get((address, name), (0, -math.inf))
        wait = last + _WAIT_SECONDS - now if count >= _TRIES_OF_NAME else 0.0
        tries = self._of_address.get(address)
        if tries and len(tries) == _TRIES_OF_ADDRESS and not self.is_known(address, name):
            wait = max(wait, tries[0] + _WAIT_SECONDS - now)
        if wait > 0:
            raise ApiError(errors.TOO_MANY_REQUESTS, retry_after=math.ceil(wait))

    def failed(self, address: str, name: str) -> None:
        now = self._clock()
        count, last = self._of_name.get((address, name), (0, now))
        _remember(self._of_name, (address, name), (1 if now - last >= _FORGOTTEN_SECONDS else count + 1, now))
        if not self.is_known(address, name):
            tries = self._of_address.get(address) or deque(maxlen=_TRIES_OF_ADDRESS)
            tries.append(now)
            _remember(self._of_address, address, tries)

    def succeeded(self, address: str, name: str) -> None:
        self._of_name.pop((address, name), None)
        _remember(self._known, (address, name), None)


def _remember(kept: OrderedDict[Key, Value], key: Key, value: Value) -> None:
    kept[key] = value
    kept.move_to_end(key)
    while len(kept) > _MOST_KEPT:
        kept.popitem(last=False)
