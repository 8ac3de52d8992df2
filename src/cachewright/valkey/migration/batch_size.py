"""Number of keys in a batch, and number of batches that are queued together. Pure.

While a source hands a batch over, it does not answer clients: it deletes its copy of the keys in its main thread.
Therefore:

- A source with clients moves one batch at a time, whose size keeps the wait near the aim (`wait_model`). Each batch
  costs up to a tenth of a second, in which the source waits for its periodic checks.
- A source without client commands moves few large batches, one of which waits while another moves.
- In the mode `fastest`, all sources move whole ranges, as far as the other nodes allow it.

Measured in docs/decisions/0017, 0044 and 0050.
"""

import math
from collections.abc import Mapping, Sequence

from cachewright.model.tasks import DEFAULT_MODE, MigrationMode
from cachewright.valkey.client_activity import ClientActivity
from cachewright.valkey.migration.wait_model import WaitLearner
from cachewright.valkey.slots import SlotRange, cut, slots_of

AIM_SECONDS = 0.03
"""The aim: seconds that a client waits at most because of a batch."""

LARGE_KEYS = 600_000
"""Keys in a large batch. A change of the mode waits for the batches that have begun or wait."""

FASTEST_KEYS = 2_000_000
"""Keys in a batch of the mode `fastest`: most ranges are smaller and move as a whole. The source does not answer for
about 1.5 us per key while it deletes them. The limit keeps this well below `cluster-node-timeout` (5 s), after which
the other nodes take a silent node for dead."""

SHORT_KEYS = 5_000
"""Batches of up to this many keys end so soon that the time between two checks of a node matters."""

_MAX_KEYS = 100_000
_SMALL_BYTES = 32 * 1024 * 1024
_CALLS_PER_SECOND = 1.0


def large_batch_keys(mode: MigrationMode) -> int:
    """Return the number of keys in a large batch of a task in this mode."""
    return FASTEST_KEYS if mode == "fastest" else LARGE_KEYS


def most_small_keys(bytes_per_key: float) -> int:
    """Return the largest number of keys in a small batch."""
    return min(_MAX_KEYS, max(int(_SMALL_BYTES / max(bytes_per_key, 1.0)), 1))


def large_batches(ranges: Sequence[SlotRange], keys: Mapping[int, int], most_keys: int) -> list[SlotRange]:
    """Return the same slots in as few contiguous batches as `cut` does, but of about equal size if possible. Each has
    at most `most_keys` keys or is a single slot. `keys` are those of each slot."""
    slots = slots_of(ranges)
    total, largest = sum(keys[slot] for slot in slots), max((keys[slot] for slot in slots), default=0)
    batches = max(math.ceil(total / most_keys), 1)
    return cut(ranges, keys, min(total // batches + largest, most_keys))


def without_small_rest(keys: int, remaining: int) -> int:
    """Return the size of the next batch: `keys`, or half of what remains of the range, rather than leave less than half
    a batch. Clients learn that a node has no slots by requests to those that moved last, so these should be many."""
    return (remaining + 1) // 2 if keys < remaining < keys * 3 / 2 else keys


class BatchSizer:
    """The batch size of one source.

    :ivar has_clients: whether clients use the source.
    """

    def __init__(self, bytes_per_key: float, waits: WaitLearner) -> None:
        self.bytes_per_key = bytes_per_key
        self._waits = waits
        self._max_keys = most_small_keys(bytes_per_key)
        self._most = FASTEST_KEYS
        self._previous: ClientActivity | None = None
        self.has_clients = True

    def observe(self, activity: ClientActivity) -> None:
        """Record the client activity before a batch. Connected clients count as idle only if they have sent almost no
        commands since the last call, because they may send one at any time."""
        previous, self._previous = self._previous, activity
        if previous is None:
            self.has_clients = activity.connected > 0
        else:
            self.has_clients = activity.calls_since(previous) > _CALLS_PER_SECOND * (activity.at - previous.at)

    def record(self, keys: int, wait: float, fork: float) -> None:
        """Learn from a batch with clients; see `WaitLearner.record`."""
        self._waits.record(keys, wait, fork)

    def small_batch(self, fork: float) -> int:
        """Return the number of keys of the next batch of a source with clients. `fork` is the node's last fork in
        seconds."""
        keys = max(self._waits.model.keys_within(AIM_SECONDS, fork), SHORT_KEYS)
        return min(keys, self._max_keys, self._next_limit())

    def is_bound_by_bytes(self, keys: int) -> bool:
        """Whether a small batch would have more keys if they were smaller."""
        return self._max_keys < _MAX_KEYS and keys >= self._max_keys

    def large_batch(self, mode: MigrationMode = DEFAULT_MODE) -> int:
        """Return the largest number of keys of the next large batch. If it is less than `large_batch_keys`, no other
        may wait meanwhile. `mode` is that of the task."""
        return min(large_batch_keys(mode), self._next_limit())

    def limit(self, keys: int) -> None:
        """Use at most this number of keys in the next batch, because a larger one has failed. The limit grows slowly
        with each batch."""
        self._most = max(keys, 1)

    def _next_limit(self) -> int:
        most, self._most = self._most, min(self._most * 5 // 4 + 1, FASTEST_KEYS)
        return most
