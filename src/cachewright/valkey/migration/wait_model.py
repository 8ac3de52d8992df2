"""The longest wait of clients of a source that hands over a batch, as learned on this host. Pure.

A source that hands over a batch does not answer while it deletes its copy, and before that it holds writes. Both
together take a constant time and a time for each key. The fork for the snapshot is another wait at another time, so the
longest wait is the longer of the two. Measured in docs/decisions/0044.
"""

from collections import deque
from itertools import combinations
from statistics import median, quantiles

import msgspec

_FORK_WAIT = 1.4
"""Wait of a client during a fork, as a multiple of the time that the node reports for it."""

_PRIOR_KEYS = (0, 5_000, 10_000, 15_000, 20_000)
"""Batch sizes for which the assumed or stored model counts like one measurement each."""

_SETTLED_BATCHES = 8
"""Number of measured batches from which the size of batches hardly depends on the assumed model."""

_MIN_BATCHES = 4
"""Number of measured batches from which the base no longer depends on the assumed model."""

_MIN_DISTANCE = 1_000
"""Pairs of batches whose sizes differ by fewer keys are not used to find the time of a key."""

_BASES, _PER_KEYS = (0.002, 0.05), (0.1e-6, 20e-6)
"""Limits of plausible constants: a stall of the host must not count as the cost of a handover."""


class WaitModel(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds of a handover: `base`, and `per_key` for each key of the batch."""

    base: float = 0.013
    per_key: float = 0.8e-6

    def longest(self, keys: float, fork: float) -> float:
        """Return the longest wait of a client, in seconds, during a batch. `fork` is the node's last fork."""
        return max(self.base + self.per_key * keys, fork_wait(fork))

    def keys_within(self, aim: float, fork: float) -> int:
        """Return the number of keys with which a batch stays within `aim` seconds.

        Smaller batches are more batches, so they are not made smaller where that hardly shortens the wait: if the fork
        alone takes longer than the aim, a batch may take as long as the fork; and half of the time is for keys, even if
        the base takes longer than the other half."""
        longest = max(aim, fork_wait(fork))
        return max(int((longest - min(self.base, longest / 2)) / self.per_key), 1)


def fork_wait(fork: float) -> float:
    """Return the wait of a client in seconds during a fork that takes the node `fork` seconds."""
    return _FORK_WAIT * fork


class WaitLearner:
    """Learns the model from the batches of this host.

    :ivar model: the present model.
    """

    def __init__(self, start: WaitModel | None = None) -> None:
        self._samples: deque[tuple[int, float]] = deque(maxlen=48)
        self._start = start or WaitModel()
        self.model = self._start

    @property
    def batches(self) -> int:
        """Number of batches that the model has been learned from."""
        return len(self._samples)

    @property
    def is_settled(self) -> bool:
        """Whether the size of batches hardly depends on the assumed model any more."""
        return self._start != WaitModel() or self.batches >= _SETTLED_BATCHES

    def start_from(self, model: WaitModel) -> None:
        """Use a stored model, unless batches have been measured since the start of the server."""
        if not self._samples:
            self._start = self.model = model

    def record(self, keys: int, wait: float, fork: float) -> None:
        """Learn from a batch: its number of keys, the longest wait of a client and the fork, in seconds. If the wait is
        no longer than that for the fork, the handover took at most this time."""
        if keys < 1:
            return
        expected = self.model.base + self.model.per_key * keys
        self._samples.append((keys, min(wait, expected) if wait <= fork_wait(fork) else wait))
        self.model = self._fitted()

    def _fitted(self) -> WaitModel:
        """Fit a line. It is robust against single long waits, because the host has other work, too: the slope is the
        median of the slopes of all pairs, and three of four batches are on or below the line."""
        prior = [(keys, self._start.base + self._start.per_key * keys) for keys in _PRIOR_KEYS]
        samples = [*prior, *self._samples]
        slopes = [
            (wait - other) / (keys - fewer)
            for (fewer, other), (keys, wait) in combinations(samples, 2)
            if abs(keys - fewer) >= _MIN_DISTANCE
        ]
        per_key = _within(median(slopes), *_PER_KEYS)
        measured = [*prior[: max(_MIN_BATCHES - len(self._samples), 0)], *self._samples]
        base = quantiles([wait - per_key * keys for keys, wait in measured], n=4, method="inclusive")[2]
        return WaitModel(base=_within(base, *_BASES), per_key=per_key)


def _within(number: float, lowest: float, highest: float) -> float:
    return min(max(number, lowest), highest)
