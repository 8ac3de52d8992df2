"""How far an instance is behind the source of a migration. Pure."""

from collections import deque

import msgspec

READY_BYTES = 1_000_000
READY_KEYS = 1000
READY_SECONDS = 1.0
"""A migration is ready for its cut-over while the lag is below each of these."""

_READY_OBSERVATIONS = 4


class Lag(msgspec.Struct, frozen=True):
    """:ivar size: bytes of the source's stream of writes that are not copied.
    :ivar keys: changed keys that are not copied.
    :ivar seconds: how old the data of the instance may be, compared with the source.
    """

    size: int
    keys: int
    seconds: float

    @property
    def is_small(self) -> bool:
        return self.size <= READY_BYTES and self.keys <= READY_KEYS and self.seconds <= READY_SECONDS


class LagWatch:
    """The lag of one gateway, from successive positions in the stream of its source."""

    def __init__(self) -> None:
        self._positions: deque[tuple[float, int]] = deque()
        self._small = 0

    def see(self, now: float, source_offset: int, copied_offset: int, keys: int) -> Lag:
        """Return the lag at the time `now`, in seconds of any clock."""
        self._positions.append((now, source_offset))
        while len(self._positions) > 1 and self._positions[1][1] <= copied_offset:
            self._positions.popleft()
        seconds = 0.0 if copied_offset >= source_offset else now - self._positions[0][0]
        lag = Lag(max(source_offset - copied_offset, 0), keys, seconds)
        self._small = self._small + 1 if lag.is_small else 0
        return lag

    @property
    def is_ready(self) -> bool:
        """Whether the lag has been small for several successive observations."""
        return self._small >= _READY_OBSERVATIONS
