"""What the plan knows of the data of a range, and the work of its move. Pure.

Work is counted in copies of ordinary keys in small batches that take as long. Small batches protect clients of the
source; while it has none, large batches move the same keys with less work. It is unknown when clients come and go, so
the work of keys to come is a mean of both, weighted by how many keys have moved in which batches.
"""

import math
from collections.abc import Mapping
from statistics import NormalDist, harmonic_mean

import msgspec


class LargeValues(msgspec.Struct, frozen=True, kw_only=True):
    """The large values of one slot.

    :ivar bytes: expected bytes on the network.
    :ivar worth: number of ordinary keys whose copy takes as long.
    """

    bytes: float
    worth: float


_START_SHARE = 0.75
"""Share of the constant work of a batch that is done before its snapshot begins: the source begins it with the next
tick of its cluster timer, which has ten a second. The rest is the handover."""


_SIZE_DEVIATION = 0.15
"""Standard deviation of the logarithm of the size of a small batch."""

_MANY_BATCHES = 5
"""Number of batches from which the mean number is half more than the keys over the usual size."""


def _varying_batches(sizes: float) -> float:
    """Return the expected number of batches of a range that is so many times as large as a usual batch: the mean of the
    number, rounded up, over the sizes that batches may have."""
    if sizes >= _MANY_BATCHES:
        return sizes + 1 / 2
    if sizes <= 0:
        return 1.0
    actual = NormalDist(math.log(sizes) - _SIZE_DEVIATION**2 / 2, _SIZE_DEVIATION)
    return 1.0 + sum(1.0 - actual.cdf(math.log(number)) for number in range(1, 2 * _MANY_BATCHES))


class BatchCost(msgspec.Struct, frozen=True, kw_only=True):
    """Work of batches of one kind.

    :ivar keys: number of keys in a batch; 0 if all keys are in one.
    :ivar sizes_vary: whether it is only the usual number.
    :ivar key: work of the copy of a key, :ivar deletion: of its deletion on the source, :ivar batch: of each batch,
        :ivar batch_a_key: of each batch for each key of the range that the source still has: the fork of a larger node
        takes longer.
    """

    keys: int = 0
    sizes_vary: bool = False
    key: float = 1.0
    deletion: float = 0.0
    batch: float = 0.0
    batch_a_key: float = 0.0

    def work(self, keys: float) -> float:
        """Return the work of this number of keys, the last ones of a range."""
        return keys * (self.key + self.deletion) + self._batches(keys) * self.batch_while(keys / 2)

    def batch_while(self, keys: float) -> float:
        """Return the work of a batch, without that of its keys, while the source has this number of keys of the
        range."""
        return self.batch + keys * self.batch_a_key

    def start_while(self, keys: float) -> float:
        """Return the part of `batch_while` before the batch's snapshot, the fork included."""
        return _START_SHARE * self.batch + keys * self.batch_a_key

    def _batches(self, keys: float) -> float:
        """Return the expected number of batches."""
        if not self.keys:
            return 1.0
        return _varying_batches(keys / self.keys) if self.sizes_vary else max(math.ceil(keys / self.keys), 1)


class RangeSize(msgspec.Struct, frozen=True, kw_only=True):
    """What the plan knows of a range.

    :ivar keys: number of keys.
    :ivar bytes_per_key: expected bytes of an ordinary key on the network.
    :ivar large: large values by slot.
    :ivar small_batches: cost of small batches, :ivar large_batches: of large ones.
    :ivar small_share: share of the keys that the plan expects to move in small batches.
    """

    keys: int
    bytes_per_key: float
    large: Mapping[int, LargeValues] = {}
    small_batches: BatchCost = BatchCost()
    large_batches: BatchCost = BatchCost()
    small_share: float = 1.0

    @property
    def work(self) -> float:
        """Planned work."""
        large = sum(values.worth for values in self.large.values())
        return mixed(self.keys, self.small_batches, self.large_batches, self.small_share) + large


def mixed(keys: float, small: BatchCost, large: BatchCost, small_share: float) -> float:
    """Return the expected work of keys of which a share moves in small batches, and the others in large ones."""
    return small_share * small.work(keys) + (1 - small_share) * large.work(keys)


_WEIGHT_OF_LAST = 0.25
"""Weight of the newest small batch in the mean size of recent ones."""

_PLANNED_BATCHES = 8
"""Number of batches that the planned size counts as in the expected size of those to come."""

_PLANNED_WEIGHT, _VARYING_WEIGHT = 0.25, 20.0
"""Weight of the plan's share of keys in small batches, in ranges, and what is added for each unit of the variance of
the share. That is much, because all sources of a task move keys in the same moments, with or without clients."""


class BatchShare:
    """Keys of a task that have moved in small batches, and in all; the sizes of its small batches; and whether its
    sources had clients."""

    def __init__(self) -> None:
        self._small = self._all = 0
        self._usual: float | None = None
        self._sized = 0
        self._seen: set[bool] = set()
        self._batches = {True: 0, False: 0}
        self._batch_keys = {True: 0, False: 0}

    def see(self, *, clients: bool) -> None:
        """Record whether a source has clients now."""
        self._seen.add(clients)

    def has_seen(self, *, clients: bool) -> bool:
        """Whether a source had clients, or had none, at some time of the task."""
        return clients in self._seen

    def usual_small_batch(self, keys: int, planned: int) -> int:
        """Record the size of a small batch. Return the expected size of those to come, between the planned size and a
        mean in which recent batches count most. The size follows the last forks and waits of a source, which vary: the
        first batches say little of those to come. With each further batch the planned size counts less."""
        self._sized += 1
        before = self._usual if self._usual is not None else planned or keys
        self._usual = before + _WEIGHT_OF_LAST * (keys - before)
        sizes = [self._usual, planned or self._usual]
        return max(round(harmonic_mean(sizes, weights=[self._sized, _PLANNED_BATCHES])), 1)

    def record_small_batch(self, keys: int, *, new_target: bool) -> None:
        """Record the size of a small batch, by whether the task has added its target."""
        self._batches[new_target] += 1
        self._batch_keys[new_target] += keys

    def small_batches(self, *, new_target: bool) -> tuple[int, int]:
        """Return the number of recorded small batches and the sum of their sizes."""
        return self._batches[new_target], self._batch_keys[new_target]

    def record(self, keys: int, *, small: bool) -> None:
        self._small += keys if small else 0
        self._all += keys

    @property
    def measured(self) -> float | None:
        """The share; None if no keys have moved."""
        return self._small / self._all if self._all else None

    def expected(self, planned: float, keys: int) -> float:
        """Return the expected share of keys to come. The plan's share counts as much as a quarter of this number of
        keys: clients that are gone are usually gone for the next batches as well. It counts more where clients came and
        went in earlier tasks."""
        weight = (_PLANNED_WEIGHT + _VARYING_WEIGHT * planned * (1 - planned)) * keys
        return (planned * weight + self._small) / (weight + self._all) if weight + self._all else planned
