"""Number of keys in the received part of a snapshot. Pure.

A node of a cluster writes the number of keys of each slot before them, so they are known exactly. Other nodes count the
keys that their child process has written about once a second (INFO persistence); between two counts, the keys are
estimated from the received bytes.

Source: rdbSaveDb in rdb.c, and INFO, of Valkey 9.1.
"""

import re
from collections.abc import Mapping
from typing import Protocol

from cachewright.valkey.single_request import databases
from cachewright.valkey.slots import SLOTS

_SLOT = re.compile(rb"\xfa\x09slot-info.(\d{1,5}),(\d{1,12}),", re.DOTALL)
_OVERLAP = 64


class KeyCounter(Protocol):
    """:ivar total: keys of the node when the snapshot began, about.
    :ivar received: bytes of the snapshot.
    :ivar needs_state: `update` tells more.
    """

    total: int
    received: int
    needs_state: bool

    @property
    def keys(self) -> float: ...

    def see(self, part: bytes) -> None:
        """Count the next part of the snapshot."""

    def update(self, persistence: Mapping[str, str]) -> None:
        """Take counters of the node into account, from INFO persistence."""

    def complete(self) -> None:
        """Everything has been received."""


def counter_for(state: Mapping[str, str], *, by_slot: bool) -> KeyCounter:
    """Return a counter for a node with this state, from INFO keyspace and memory."""
    keys = sum(int(state[name].partition("keys=")[2].partition(",")[0]) for name in databases(state))
    return SlotCounter(keys) if by_slot else ChildCounter(keys, int(state.get("used_memory", 0)))


class SlotCounter:
    """Counts by slots. A value can contain the same text as the begin of a slot: only a higher slot counts, and the sum
    is at most the keys of the node."""

    needs_state = False

    def __init__(self, total: int) -> None:
        self.total = total
        self.received = 0
        self._slot, self._in_slot, self._before = -1, 0, 0
        self._tail = b""

    @property
    def keys(self) -> float:
        """Keys of the slots that are complete."""
        return min(self._before, self.total)

    def see(self, part: bytes) -> None:
        self.received += len(part)
        text = self._tail + part
        for found in _SLOT.finditer(text):
            slot, keys = int(found[1]), int(found[2])
            if self._slot < slot < SLOTS and keys <= self.total:
                self._before += self._in_slot
                self._slot, self._in_slot = slot, keys
        self._tail = text[-_OVERLAP:]

    def update(self, persistence: Mapping[str, str]) -> None:
        pass

    def complete(self) -> None:
        self._before = self.total


class ChildCounter:
    """Counts by what the child process reports."""

    needs_state = True

    def __init__(self, total: int, used_memory: int) -> None:
        """:param used_memory: bytes of the data set in memory. A snapshot takes less."""
        self.total = total
        self.received = 0
        self._per_byte = total / max(used_memory, 1)
        self._counted, self._counted_at = 0, 0
        self._is_complete = False

    @property
    def keys(self) -> float:
        if self._is_complete:
            return self.total
        return min(self._counted + (self.received - self._counted_at) * self._per_byte, self.total)

    def see(self, part: bytes) -> None:
        self.received += len(part)

    def update(self, persistence: Mapping[str, str]) -> None:
        written = int(persistence.get("current_save_keys_processed", 0))
        if written > self._counted and self.received:
            self._counted, self._counted_at = written, self.received
            self._per_byte = written / self.received

    def complete(self) -> None:
        self._is_complete = True
