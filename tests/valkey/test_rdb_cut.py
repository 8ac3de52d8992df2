"""Snapshots that are cut by slots: every key of the wanted slots once, nothing else, whatever the values contain."""

from collections.abc import Mapping
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachewright.valkey.rdb_cut import Cut, Part, cut, whole
from cachewright.valkey.rdb_index import RdbIndex, UnreadableSnapshot, encoded, parse, within
from cachewright.valkey.slots import SLOTS, SlotRange

HEAD = b"VALKEY080\xfa\x0avalkey-ver\x059.1.2\xf5\x07library"
MARK = b"\xfa\x09slot-info"
END = b"\xff" + bytes(8)

Place = tuple[int, int]
"""A database and a slot."""

bodies = st.one_of(
    st.binary(max_size=40),
    st.just(MARK + b"\x0b1,99,0,0,0,0"),  # values that look like marks
    st.just(b"\xfe\x03\xff" + bytes(8)),
)
snapshots = st.dictionaries(
    st.tuples(st.sampled_from([0, 1, 70]), st.integers(0, SLOTS - 1)), st.tuples(st.integers(1, 9), bodies), max_size=12
)


def snapshot(content: Mapping[Place, tuple[int, bytes]], *, hints: bytes = b"\xfb\x05\x00") -> tuple[bytes, str]:
    """A file with these numbers of keys and bytes by place, and what valkey-check-rdb prints about it. `hints` about
    the size of each database are not part of a cut."""
    file, lines, database = bytearray(HEAD), [f"[offset {len(HEAD)}] AUX FIELD aof-base = '0'"], None
    for (number, slot), (keys, body) in sorted(content.items()):
        if number != database:
            file += b"\xfe" + encoded(number)
            lines.append(f"[offset {len(file)}] Selecting DB ID {number}")
            file += hints
            database = number
        info = f"{slot},{keys},0,0"
        file += MARK + bytes([len(info)]) + info.encode()
        lines.append(f"[offset {len(file)}] AUX FIELD slot-info = '{info}'")
        file += body
    file += END
    total = sum(keys for keys, _ in content.values())
    return bytes(file), "\n".join([*lines, f"[offset {len(file)}] Checksum OK", f"[info] {total} keys read", ""])


def written(planned: Cut, files: list[bytes]) -> bytes:
    return b"".join(
        files[piece.source][piece.first : piece.end] if isinstance(piece, Part) else piece for piece in planned.pieces
    )


def read(index: RdbIndex, file: bytes) -> dict[Place, tuple[int, bytes]]:
    """Numbers of keys and bytes by place, without the marks."""
    return {
        (part.db, part.slot): (
            part.keys,
            file[part.first : part.end].split(f"{part.slot},{part.keys},0,0".encode(), 1)[1],
        )
        for part in index.segments
    }


@given(snapshots)
def test_an_index_finds_the_keys_of_each_slot(content: Mapping[Place, tuple[int, bytes]]) -> None:
    file, report = snapshot(content)
    index = parse(report, file)
    assert read(index, file) == content
    assert index.databases == {number for number, _ in content}
    assert written(whole(index, len(file)), [file]) == file
    owned = within(index, [SlotRange(0, 999), SlotRange(9000, SLOTS - 1)])
    assert read(owned, file) == {place: kept for place, kept in content.items() if not 999 < place[1] < 9000}
    assert owned.is_by_slot


@given(snapshots, st.integers(1, 4), st.lists(st.integers(1, SLOTS - 1), unique=True, max_size=4))
def test_new_shards_have_every_key_once(
    content: Mapping[Place, tuple[int, bytes]], sources: int, edges: list[int]
) -> None:
    """The snapshots of any number of shards, cut for any others."""
    owned = [
        {place: kept for place, kept in content.items() if place[1] % sources == number} for number in range(sources)
    ]
    made = [snapshot(part) for part in owned]
    files, indexes = [file for file, _ in made], [parse(report, file) for file, report in made]
    found: dict[Place, tuple[int, bytes]] = {}
    for first, end in pairwise([0, *sorted(edges), SLOTS]):
        planned = cut(indexes, [SlotRange(first, end - 1)])
        file = written(planned, files)
        wanted = {place: kept for place, kept in content.items() if first <= place[1] < end}
        assert file == snapshot(wanted, hints=b"")[0]
        assert len(file) == planned.size
        assert planned.keys == sum(keys for keys, _ in wanted.values())
        found |= wanted
    assert found == content


def test_damaged_or_foreign_snapshots_are_refused() -> None:
    file, report = snapshot({(0, 5): (1, b"body")})
    for damaged, text in ((file[:-1], report), (file, report.replace("[info] 1 keys", "[info] 2 keys")), (b"", report)):
        with pytest.raises(UnreadableSnapshot):
            parse(text, damaged)
    with pytest.raises(UnreadableSnapshot, match="no begin"):
        parse(report, file.replace(MARK, b"\xfa\x09slot_info"))
    index = parse(report, file)
    with pytest.raises(UnreadableSnapshot, match="slot 5"):
        cut([index, index], [SlotRange(0, 9)])
    plain = parse("[offset 40] Selecting DB ID 0\n[info] 3 keys read\n", HEAD + b"\xfe\x00keys" + END)
    assert not plain.is_by_slot
    with pytest.raises(UnreadableSnapshot, match="not divided"):
        cut([plain], [SlotRange(0, 9)])
