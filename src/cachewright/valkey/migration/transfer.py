"""How far a slot range is on its way, from the counters of both sides: bytes of the source, keys of the target.

Which counters those are, and why: docs/decisions/0003 and 0006.
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
    """How far a range is. `share` counts all of the data, 0 to 1; it is 1 when only handovers are left."""

    full: Phase
    increment: Phase
    keys: int
    bytes: int
    share: float


class TransferProgress:
    """Of one range.

    :ivar counts: keys by slot when it was looked first, in the slots that were still to come.
    """

    def __init__(self, counts: Mapping[int, int], bytes_per_key: float, exported_before: int) -> None:
        """`bytes_per_key` is what a key takes by experience, `exported_before` what the source had sent when this range
        began."""
        slots = list(counts)
        self.counts = counts
        self._bytes_per_key = bytes_per_key
        self._exported_before = exported_before
        self._sample = slots[:: max(len(slots) // _SAMPLED_SLOTS, 1)]
        self._expected_sample = sum(counts[slot] for slot in self._sample)
        self._expected_keys = sum(counts.values())

    def came(self, exported: int) -> int:
        """Bytes of this range, of all that the source has sent."""
        return max(exported - self._exported_before, 0)

    def parted(self, exported: int, keys: int, ahead: int) -> int:
        """Where this range ended in what the source has sent, when there were `keys` of it and of the next one some
        keys `ahead`: the counter does not tell them apart, so each key counts the same."""
        came = self.came(exported)
        return exported - came + round(came * keys / (keys + ahead)) if ahead else exported

    async def look(self, target: Valkey, states: Set[str], exported: int) -> Transfer:
        """`states` are those of the range's jobs, `exported` is all that the source has sent. The share is bytes over
        bytes expected, and what is expected is corrected all the time: what has come, plus the keys that have not, at
        what a key takes."""
        came = self.came(exported)
        arrived = sum((await count_keys(target, self._sample)).values())
        of_keys = min(arrived / self._expected_sample, 1.0) if self._expected_sample else 1.0
        keys = round(of_keys * self._expected_keys)
        measured = came / keys if keys else self._bytes_per_key
        per_key = of_keys * measured + (1 - of_keys) * self._bytes_per_key
        to_come = (self._expected_keys - keys) * per_key
        moving = bool(states - _BEFORE_SNAPSHOT) or keys > 0
        copied = not states & (_BEFORE_SNAPSHOT | {"snapshotting"}) and of_keys >= 1.0
        streamed = bool(states - _BEFORE_SNAPSHOT - {"snapshotting"})
        return Transfer(
            full="finished" if copied else "in progress" if moving else "to start",
            increment="in progress" if streamed else "to start",
            keys=keys,
            bytes=came,
            share=came / (came + to_come) if came else 0.0,
        )
