"""Progress of a slot range, from counters of both sides: bytes of the source, keys of the target.

The counters and their choice: docs/decisions/0003 and 0006.
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
    """Progress of a range. `share` is that of all data, 0 to 1; it is 1 when only handovers are left."""

    full: Phase
    increment: Phase
    keys: int
    bytes: int
    share: float


class TransferProgress:
    """Progress of one range.

    :ivar counts: keys by slot at the start, in the slots that had not moved yet.
    """

    def __init__(self, counts: Mapping[int, int], bytes_per_key: float, exported_before: int) -> None:
        """:param bytes_per_key: expected bytes of a key.
        :param exported_before: bytes that the source had sent when this range started.
        """
        slots = list(counts)
        self.counts = counts
        self._bytes_per_key = bytes_per_key
        self._exported_before = exported_before
        self._sample = slots[:: max(len(slots) // _SAMPLED_SLOTS, 1)]
        self._expected_sample = sum(counts[slot] for slot in self._sample)
        self._expected_keys = sum(counts.values())

    def bytes_transferred(self, exported: int) -> int:
        """Bytes of this range, if the source has sent `exported` bytes in all."""
        return max(exported - self._exported_before, 0)

    def split_at(self, exported: int, keys: int, following_keys: int) -> int:
        """Bytes that the source had sent in all when this range ended. The `keys` of this range and the first
        `following_keys` of the next have arrived, and the counter does not separate them, so each key counts the
        same."""
        if not following_keys:
            return exported
        transferred = self.bytes_transferred(exported)
        return exported - transferred + round(transferred * keys / (keys + following_keys))

    async def measure(self, target: Valkey, states: Set[str], exported: int) -> Transfer:
        """Progress now. `states` are those of the range's jobs; the source has sent `exported` bytes in all.

        The share is bytes transferred over bytes expected. The expectation is corrected all the time: the bytes so far,
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
