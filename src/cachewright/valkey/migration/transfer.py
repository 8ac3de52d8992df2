"""Progress of a slot range, computed from the bytes that the source has sent and the keys on the target.

See docs/decisions/0003 and 0006 for the choice of these counters.
"""

from collections.abc import Mapping, Set
from typing import Literal

import msgspec

from cachewright.valkey.client import Valkey
from cachewright.valkey.migration.jobs import count_keys

Phase = Literal["to start", "in progress", "finished", "failed"]

_SAMPLED_SLOTS = 128
_BEFORE_SNAPSHOT = {
    "connecting",
    "sending-auth-command",
    "reading-auth-response",
    "sending-establish-command",
    "reading-establish-response",
    "waiting-to-snapshot",
}


class Transfer(msgspec.Struct, frozen=True, kw_only=True):
    """Progress of a range at one time. `share` is the share of the data that has arrived, 0 to 1; at 1 only handovers
    remain."""

    full: Phase
    increment: Phase
    keys: int
    bytes: int
    share: float


class TransferProgress:
    """Measures the progress of one range.

    :ivar counts: keys by slot at the start, of slots that had not moved yet.
    :ivar bytes_by_key: bytes of keys that moved one by one, which the source does not count as exported.
    """

    def __init__(self, counts: Mapping[int, int], bytes_per_key: float, exported_before: int) -> None:
        """Begin to measure a range.

        :param bytes_per_key: expected bytes of a key.
        :param exported_before: bytes that the source had sent when this range started.
        """
        slots = list(counts)
        self.counts = counts
        self.bytes_by_key = 0
        self._bytes_per_key = bytes_per_key
        self._exported_before = self._last = exported_before
        self._until_restart = 0
        self._sample = slots[:: max(len(slots) // _SAMPLED_SLOTS, 1)]
        self._expected_sample = sum(counts[slot] for slot in self._sample)
        self._expected_keys = sum(counts.values())

    def bytes_transferred(self, exported: int) -> int:
        """Return the bytes of this range, given all bytes `exported` by the source."""
        if exported < self._last:  # the counter has restarted at zero
            self._until_restart += self._last - self._exported_before
            self._exported_before = 0
        self._last = exported
        return max(self._until_restart + exported - self._exported_before, 0) + self.bytes_by_key

    def split_at(self, exported: int, keys: int, following_keys: int) -> int:
        """Estimate how many bytes the source had sent in all when this range ended. The `keys` of this range and
        `following_keys` of the next have arrived. The counter does not separate them, so every key gets the same
        number of bytes."""
        if not following_keys:
            return exported
        transferred = self.bytes_transferred(exported) - self.bytes_by_key
        self._last = exported - transferred + round(transferred * keys / (keys + following_keys))
        return self._last

    async def measure(self, target: Valkey, states: Set[str], exported: int) -> Transfer:
        """Return the present progress, given the states of the range's jobs and all bytes `exported` by the source.

        The share is transferred bytes / expected bytes. Each call estimates the expected bytes again: the bytes so far
        plus the expected bytes of the keys that have not arrived."""
        transferred = self.bytes_transferred(exported)
        arrived = sum((await count_keys(target, self._sample)).values())
        of_keys = min(arrived / self._expected_sample, 1.0) if self._expected_sample else 1.0
        keys = round(of_keys * self._expected_keys)
        measured = transferred / keys if keys else self._bytes_per_key
        per_key = of_keys * measured + (1 - of_keys) * self._bytes_per_key
        remaining = (self._expected_keys - keys) * per_key
        moving = bool(states - _BEFORE_SNAPSHOT) or keys > 0
        copied = not states & (_BEFORE_SNAPSHOT | {"snapshotting"}) and of_keys >= 1.0
        streamed = bool(states - _BEFORE_SNAPSHOT - {"snapshotting"})
        return Transfer(
            full="finished" if copied else "in progress" if moving else "to start",
            increment="in progress" if streamed else "to start",
            keys=keys,
            bytes=transferred,
            share=transferred / (transferred + remaining) if transferred else 0.0,
        )
