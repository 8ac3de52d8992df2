"""Files of a node's append-only log: which there are, and where they are cut."""

import time
from pathlib import Path

import pytest

from cachewright.config import get_binary_path
from cachewright.valkey.append_only_files import DamagedLog, LogFile, cut_after, manifest_of, number_of, parse

TEXT = """file appendonly.aof.2.base.rdb seq 2 type b
file appendonly.aof.4.incr.aof seq 4 type i
file appendonly.aof.1.base.rdb seq 1 type h
file appendonly.aof.3.incr.aof seq 3 type i
"""
NAMES = ["appendonly.aof.2.base.rdb", "appendonly.aof.3.incr.aof", "appendonly.aof.4.incr.aof"]


def test_the_base_and_its_increments_in_order() -> None:
    assert [file.name for file in parse(TEXT)] == NAMES
    assert parse(TEXT)[0] == LogFile(NAMES[0], 2, "b")
    assert [number_of(name) for name in NAMES] == [None, 3, 4]
    assert parse("") == []
    assert [file.name for file in parse(manifest_of(reversed(NAMES)))] == NAMES


def command(*words: str) -> bytes:
    return f"*{len(words)}\r\n".encode() + b"".join(f"${len(word)}\r\n{word}\r\n".encode() for word in words)


@pytest.fixture
def increments(tmp_path: Path) -> list[Path]:
    """Writes of the seconds 100 to 103 in two files, one with text as of a later second."""
    parts = [
        b"#TS:100\r\n" + command("SET", "a", "1") + b"#TS:101\r\n" + command("SET", "b", "\n#TS:900\r\n"),
        b"#TS:102\r\n" + command("SET", "c", "1") + b"#TS:103\r\n" + command("SET", "d", "1") + b"*3\r\n$3",
    ]
    paths = [tmp_path / name for name in NAMES[1:]]
    for path, part in zip(paths, parts, strict=True):
        path.write_bytes(part)
    return paths


@pytest.mark.parametrize(
    ("second", "kept"), [(99, ""), (100, "a"), (101, "ab"), (102, "abc")], ids=["none", "first", "one file", "both"]
)
async def test_what_was_written_later_is_cut_off(increments: list[Path], second: int, kept: str) -> None:
    """The last command is incomplete, as that of a file which is read while the node writes."""
    await cut_after(get_binary_path(), increments, second)
    left = b"".join(path.read_bytes() for path in increments if path.exists())
    assert "".join(key for key in "abcd" if f"\r\n{key}\r\n".encode() in left) == kept
    assert increments[0].exists()


async def test_a_damaged_file_is_an_error(increments: list[Path]) -> None:
    increments[0].write_bytes(b"no log\r\n")
    with pytest.raises(DamagedLog):
        await cut_after(get_binary_path(), increments, int(time.time()))
