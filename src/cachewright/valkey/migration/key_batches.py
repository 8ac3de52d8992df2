"""Number and bytes of keys in one MIGRATE command. Pure.

The source does not answer its clients during the command.
"""

from collections.abc import Iterator, Mapping, Sequence

LARGE_BYTES = 64 * 1024
"""A value above this size would hold up both nodes for too long. Its slot moves by an atomic migration."""

_MOST_KEYS = 10
_SLOW_SECONDS, _FAST_SECONDS = 0.003, 0.001


class KeyBatchSizer:
    """Adapts the number of keys to the duration of the commands.

    :ivar keys: number of keys of the next command.
    """

    def __init__(self) -> None:
        self.keys = _MOST_KEYS

    def record(self, seconds: float) -> None:
        """Record the duration of a command."""
        if seconds > _SLOW_SECONDS:
            self.keys = max(self.keys // 2, 1)
        elif seconds < _FAST_SECONDS:
            self.keys = min(self.keys * 2, _MOST_KEYS)

    def batches(self, keys: Sequence[bytes], sizes: Mapping[bytes, int]) -> Iterator[Sequence[bytes]]:
        """Yield the keys in batches. Each has at most `self.keys` keys at the time when it is requested, and at most
        LARGE_BYTES bytes or a single key. Keys without a size are gone."""
        start = 0
        while start < len(keys):
            end, total = start, 0
            while end < len(keys) and end - start < self.keys:
                total += sizes.get(keys[end], 0)
                if end > start and total > LARGE_BYTES:
                    break
                end += 1
            yield keys[start:end]
            start = end
