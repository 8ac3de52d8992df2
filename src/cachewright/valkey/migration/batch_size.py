"""How many keys of a range move in one batch, and how many batches are queued together. Pure.

While a source hands a batch over it answers no client: it deletes its copy of the keys in its main thread. During the
fork for the next batch each deletion also copies the page that it touches, and takes several times as long. Therefore:

- A source with clients moves one batch at a time, small enough that its clients hardly notice. The size adapts to the
  latency during the last batch. Each batch costs up to a tenth of a second, in which the source waits for its cron.
- A source without client commands, or a task that prioritizes speed, moves few large batches, queued together.

Measured in docs/decisions/0017.
"""

from cachewright.valkey.client_activity import ClientActivity

LARGE_KEYS, LARGE_QUEUED = 500_000, 16
"""Keys in a large batch, and large batches that are queued together."""

_SMALL_KEYS = 15_000
_MIN_KEYS, _MAX_KEYS = 5_000, 100_000
_SMALL_BYTES = 32 * 1024 * 1024
_NOTICEABLE_SECONDS, _UNNOTICEABLE_SECONDS = 0.06, 0.035
_MORE_THAN_A_FORK = 1.3
_CALLS_PER_SECOND = 1.0


class BatchSizer:
    """The batch size of one source.

    :ivar protects_clients: the source has clients that use it, and the task does not prioritize speed.
    """

    def __init__(self, bytes_per_key: float) -> None:
        self.bytes_per_key = bytes_per_key
        self._keys = min(_SMALL_KEYS, max(int(_SMALL_BYTES / max(bytes_per_key, 1.0)), 1))
        self._min_keys = min(_MIN_KEYS, self._keys)
        self._previous: ClientActivity | None = None
        self.protects_clients = True

    def observe(self, activity: ClientActivity, *, prioritizes_speed: bool) -> None:
        """Take the client activity before a batch into account. A connected client may send a command at any time, so
        clients count as idle only if they have sent almost none since the last call."""
        previous, self._previous = self._previous, activity
        active = previous is None or activity.calls - previous.calls > _CALLS_PER_SECOND * (activity.at - previous.at)
        self.protects_clients = active and activity.connected > 0 and not prioritizes_speed

    def record_latency(self, longest: float, fork: float) -> None:
        """Adapt to the last batch: the longest latency of the source and the duration of its fork, in seconds. A
        latency that the fork explains would not shrink with the batch, and smaller batches fork more often."""
        by_keys = longest if longest > _MORE_THAN_A_FORK * fork else 0.0
        if by_keys > _NOTICEABLE_SECONDS:
            self._keys = max(self._keys // 2, self._min_keys)
        elif by_keys < _UNNOTICEABLE_SECONDS:
            self._keys = min(self._keys * 3 // 2, _MAX_KEYS)

    def next_batches(self) -> tuple[int, int]:
        """Keys in each of the next batches, and how many of them may be queued together."""
        return (self._keys, 1) if self.protects_clients else (LARGE_KEYS, LARGE_QUEUED)
