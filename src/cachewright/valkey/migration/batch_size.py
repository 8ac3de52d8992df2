"""Number of keys in a batch, and number of batches that are queued together. Pure.

While a source hands a batch over, it does not answer clients: it deletes its copy of the keys in its main thread.
During the fork for the next batch, each deletion also copies a memory page and takes several times as long. Therefore:

- A source with clients moves one batch at a time, which is small enough to limit latency. The size adapts to the
  latency during the last batch. Each batch costs up to a tenth of a second, in which the source waits for its cron.
- A source without client commands, or a task that prioritizes speed, moves few large batches, queued together.

Measured in docs/decisions/0017.
"""

from cachewright.valkey.client_activity import ClientActivity

LARGE_KEYS, LARGE_QUEUED = 500_000, 16
"""Keys in a large batch, and number of large batches that are queued together."""

_SMALL_KEYS = 15_000
_MIN_KEYS, _MAX_KEYS = 5_000, 100_000
_SMALL_BYTES = 32 * 1024 * 1024
_NOTICEABLE_SECONDS, _UNNOTICEABLE_SECONDS = 0.06, 0.035
_MORE_THAN_A_FORK = 1.3
_CALLS_PER_SECOND = 1.0


class BatchSizer:
    """The batch size of one source.

    :ivar protects_clients: whether active clients use the source and the task does not prioritize speed.
    """

    def __init__(self, bytes_per_key: float) -> None:
        self.bytes_per_key = bytes_per_key
        self._keys = min(_SMALL_KEYS, max(int(_SMALL_BYTES / max(bytes_per_key, 1.0)), 1))
        self._min_keys = min(_MIN_KEYS, self._keys)
        self._most = LARGE_KEYS
        self._previous: ClientActivity | None = None
        self.protects_clients = True

    def observe(self, activity: ClientActivity, *, prioritizes_speed: bool) -> None:
        """Record the client activity before a batch. Connected clients count as idle only if they have sent almost no
        commands since the last call, because they may send one at any time."""
        previous, self._previous = self._previous, activity
        active = previous is None or activity.calls - previous.calls > _CALLS_PER_SECOND * (activity.at - previous.at)
        self.protects_clients = active and activity.connected > 0 and not prioritizes_speed

    def record_latency(self, longest: float, fork: float) -> None:
        """Adapt to the last batch: the longest latency of the source and the duration of its fork, in seconds. Latency
        that the fork causes is ignored: smaller batches would not reduce it, and would cause more forks."""
        by_keys = longest if longest > _MORE_THAN_A_FORK * fork else 0.0
        if by_keys > _NOTICEABLE_SECONDS:
            self._keys = max(self._keys // 2, self._min_keys)
        elif by_keys < _UNNOTICEABLE_SECONDS:
            self._keys = min(self._keys * 3 // 2, _MAX_KEYS)

    def next_batches(self) -> tuple[int, int]:
        """Return the number of keys in each of the next batches, and how many batches may be queued together."""
        most, self._most = self._most, min(self._most * 5 // 4 + 1, LARGE_KEYS)
        if self.protects_clients or most < LARGE_KEYS:
            return min(self._keys, most) if self.protects_clients else most, 1
        return LARGE_KEYS, LARGE_QUEUED

    def limit(self, keys: int) -> None:
        """Use at most this number of keys in the next batch, because a larger one has failed. The limit grows slowly
        with each batch."""
        self._most = max(keys, 1)
