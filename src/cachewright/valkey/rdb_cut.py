"""The snapshot file (RDB) of a node that gets some of the slots of other snapshots, as parts of those files. Pure.

Nothing in a part is changed, so no value is parsed and none can be changed by mistake. The keys of a slot are in one of
the snapshots, because the nodes that wrote them owned different slots.
"""

from collections.abc import Iterator, Sequence

import msgspec

from cachewright.valkey.rdb_index import RdbIndex, Segment, UnreadableSnapshot, encoded
from cachewright.valkey.slots import SLOTS, SlotRange

ALL_SLOTS = SlotRange(0, SLOTS - 1)

_SELECT = b"\xfe"
_END = b"\xff" + bytes(8)
"""The end without a checksum, which Valkey then does not compare. The parts were checked with their own files."""


class Part(msgspec.Struct, frozen=True):
    """Bytes from `first` to before `end` of the snapshot with the number `source`."""

    source: int
    first: int
    end: int


class Cut(msgspec.Struct, frozen=True):
    """A new snapshot file: `pieces` one after another, which are parts of other files or the bytes themselves.

    :ivar size: bytes of the new file, :ivar keys: number of its keys.
    """

    pieces: tuple[Part | bytes, ...]
    size: int
    keys: int


def cut(indexes: Sequence[RdbIndex], slots: Sequence[SlotRange]) -> Cut:
    """Return the snapshot of the keys in these slots. It has the functions of the first of the snapshots, which all
    have the same. Raises UnreadableSnapshot if two snapshots have keys of one slot, or if one is not divided by slots.
    """
    found = _by_slot(indexes)
    wanted = {slot for part in slots for slot in range(part.first, part.last + 1)}
    chosen = [found[place] for place in sorted(found) if place[1] in wanted]
    pieces: list[Part | bytes] = [Part(0, 0, indexes[0].head)]
    selected: int | None = None
    for source, segment in chosen:
        last = pieces[-1]
        if segment.db != selected:
            pieces.append(_SELECT + encoded(segment.db))
            selected = segment.db
        elif isinstance(last, Part) and (last.source, last.end) == (source, segment.first):
            pieces[-1] = Part(source, last.first, segment.end)
            continue
        pieces.append(Part(source, segment.first, segment.end))
    return _whole([*pieces, _END], sum(segment.keys for _, segment in chosen))


def whole(index: RdbIndex, size: int) -> Cut:
    """Return a snapshot of `size` bytes as it is."""
    return _whole([Part(0, 0, size)], index.keys)


def used_databases(indexes: Sequence[RdbIndex]) -> frozenset[int]:
    """Return the databases with keys."""
    return frozenset().union(*(index.databases for index in indexes))


def _by_slot(indexes: Sequence[RdbIndex]) -> dict[tuple[int, int], tuple[int, Segment]]:
    """Return the segments with the number of their snapshot, by database and slot."""
    found: dict[tuple[int, int], tuple[int, Segment]] = {}
    for source, index in enumerate(indexes):
        if not index.is_by_slot:
            raise UnreadableSnapshot("the keys of the snapshot are not divided by slots")
        for segment in index.segments:
            if found.setdefault((segment.db, segment.slot), (source, segment))[0] != source:
                raise UnreadableSnapshot(f"two snapshots have keys of slot {segment.slot}")
    return found


def _whole(pieces: Sequence[Part | bytes], keys: int) -> Cut:
    return Cut(tuple(pieces), sum(_sizes(pieces)), keys)


def _sizes(pieces: Sequence[Part | bytes]) -> Iterator[int]:
    return (piece.end - piece.first if isinstance(piece, Part) else len(piece) for piece in pieces)
