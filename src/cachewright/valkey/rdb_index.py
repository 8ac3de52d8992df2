"""Where the keys of each slot are in a snapshot file (RDB). Pure.

A node of a cluster writes the keys of one slot after another, each slot with its number and its number of keys before
them (`slot-info`). `valkey-check-rdb` reads the whole file, so it finds these marks where a search for the same bytes
could find them in a value.

Source: rdb.c and valkey-check-rdb of Valkey 9.1.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from mmap import mmap

import msgspec

from cachewright.errors import CachewrightError
from cachewright.valkey.slots import SlotRange

_MARK = re.compile(r"\[offset (\d+)\] (?:Selecting DB ID (\d+)|AUX FIELD slot-info = '(\d+),(\d+),.*')")
_KEYS = re.compile(r"\[info\] (\d+) keys read")
_SLOT_INFO = b"\xfa\x09slot-info"
_LONGEST_SLOT_INFO = 96
_END_BYTES = 9  # the opcode of the end and the checksum
_END = 0xFF
_SHORT_NUMBER = 64


class UnreadableSnapshot(CachewrightError):
    """The snapshot is damaged, or has another form than Valkey 9.1 writes."""


class Segment(msgspec.Struct, frozen=True):
    """The keys of one slot of one database: bytes from `first` to before `end`."""

    db: int
    slot: int
    first: int
    end: int
    keys: int


class RdbIndex(msgspec.Struct, frozen=True):
    """Parts of a snapshot file.

    :ivar head: number of bytes before the first key: version, properties of the file, functions.
    :ivar segments: in the order of the file; none if the keys are not divided by slots.
    :ivar databases: databases with keys.
    :ivar keys: number of keys; some may have expired.
    """

    head: int
    segments: tuple[Segment, ...]
    databases: frozenset[int]
    keys: int

    @property
    def is_by_slot(self) -> bool:
        """Whether the keys are divided by slots. So they are if a node of a cluster has written the file."""
        return sum(segment.keys for segment in self.segments) == self.keys


def within(index: RdbIndex, slots: Sequence[SlotRange]) -> RdbIndex:
    """Return the index without keys in other slots than these, which a node may have had left of a slot that it had
    given away."""
    owned = {slot for part in slots for slot in range(part.first, part.last + 1)}
    segments = tuple(segment for segment in index.segments if segment.slot in owned)
    databases = frozenset(segment.db for segment in segments)
    return RdbIndex(index.head, segments, databases, sum(segment.keys for segment in segments))


def parse(report: str, content: bytes | mmap) -> RdbIndex:
    """Return the index of a file. Raises UnreadableSnapshot.

    :param report: what `valkey-check-rdb` printed about the file.
    :param content: the file.
    """
    counted = _KEYS.search(report)
    end = len(content) - _END_BYTES
    if counted is None or end < 0 or content[end] != _END:
        raise UnreadableSnapshot("the snapshot has no end")
    marks = [*_marks(report, content), _Mark(end, 0, None, 0)]
    if any(following.at < mark.at for mark, following in pairwise(marks)):
        raise UnreadableSnapshot("the parts of the snapshot are not in order")
    segments = tuple(
        Segment(mark.db, mark.slot, mark.at, following.at, mark.keys)
        for mark, following in pairwise(marks)
        if mark.slot is not None
    )
    index = RdbIndex(marks[0].at, segments, frozenset(mark.db for mark in marks[:-1]), int(counted[1]))
    if segments and not index.is_by_slot:
        raise UnreadableSnapshot(f"the snapshot has {index.keys} keys, which are not those of its slots")
    return index


class _Mark(msgspec.Struct, frozen=True):
    """The begin of a database, or of a slot."""

    at: int
    db: int
    slot: int | None
    keys: int


def _marks(report: str, content: bytes | mmap) -> Iterator[_Mark]:
    db = 0
    for offset, selected, slot, keys in _MARK.findall(report):
        after = int(offset)  # the tool has read the mark then
        if selected:
            db = int(selected)
            yield _Mark(after - 1 - len(encoded(db)), db, None, 0)
            continue
        at = content.rfind(_SLOT_INFO, max(after - _LONGEST_SLOT_INFO, 0), after)
        if at < 0:
            raise UnreadableSnapshot(f"there is no begin of slot {slot} before byte {after}")
        yield _Mark(at, db, int(slot), int(keys))


def encoded(number: int) -> bytes:
    """Return a number below 16384 as the file contains it."""
    return bytes([number]) if number < _SHORT_NUMBER else bytes([0x40 | number >> 8, number & 0xFF])
