"""How much of a range moves at once. Pure.

While a source hands a piece over it answers nobody: it deletes its copy of the keys in its main thread. With the fork
for the next piece alive each deletion also copies the page it touches, several times as slow. So there are two ways:

- A source with clients gives one piece at a time away, of so few keys that its clients hardly notice, more or fewer as
  the last one was felt. Every piece costs a tenth of a second at the most, in which the source waits for its cron.
- A source that nobody asks anything, or whose task prioritizes speed, is given few large pieces, all at once.

Measured in docs/decisions/0017.
"""

from cachewright.valkey.client_activity import ClientActivity

LARGE_KEYS, LARGE_AT_ONCE = 500_000, 16
_SMALL_KEYS = 15_000
_FEWEST_KEYS, _MOST_KEYS = 5_000, 100_000
_SMALL_BYTES = 32 * 1024 * 1024
_NOTICED_SECONDS, _UNNOTICED_SECONDS = 0.06, 0.035
_MORE_THAN_A_FORK = 1.3
_CALLS_PER_SECOND = 1.0


class BatchSizer:
    """Of one source.

    :ivar careful: the source has clients, and they are to be spared.
    """

    def __init__(self, bytes_per_key: float) -> None:
        self.bytes_per_key = bytes_per_key
        self._keys = min(_SMALL_KEYS, max(int(_SMALL_BYTES / max(bytes_per_key, 1.0)), 1))
        self._fewest = min(_FEWEST_KEYS, self._keys)
        self._before: ClientActivity | None = None
        self.careful = True

    def look(self, now: ClientActivity, *, prioritizes_speed: bool) -> None:
        """Before each piece. Who is connected may ask at any moment, so only experience shows that nobody does."""
        before, self._before = self._before, now
        asked = before is None or now.calls - before.calls > _CALLS_PER_SECOND * (now.at - before.at)
        self.careful = asked and now.connected > 0 and not prioritizes_speed

    def felt(self, longest: float, forked: float) -> None:
        """The last piece has kept a client of the source waiting for `longest` seconds at the most, and its fork took
        `forked` seconds. A wait that the fork explains would be the same with fewer keys, and come more often."""
        by_keys = longest if longest > _MORE_THAN_A_FORK * forked else 0.0
        if by_keys > _NOTICED_SECONDS:
            self._keys = max(self._keys // 2, self._fewest)
        elif by_keys < _UNNOTICED_SECONDS:
            self._keys = min(self._keys * 3 // 2, _MOST_KEYS)

    def next(self) -> tuple[int, int]:
        """Keys in each of the next pieces, and how many of these at once."""
        return (self._keys, 1) if self.careful else (LARGE_KEYS, LARGE_AT_ONCE)
