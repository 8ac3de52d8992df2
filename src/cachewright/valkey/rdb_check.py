"""Verification of a snapshot file (RDB) by `valkey-check-rdb`: checksum and structure.

The tool is valkey-server itself, under that name. Source: main() and valkey-check-rdb.c of Valkey 9.1.
"""

import asyncio
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from cachewright.errors import CachewrightError

_PROGRAM = "valkey-check-rdb"
_POLL_SECONDS = 0.1
_SHOWN_CHARACTERS = 300
_READ = re.compile(r"^rchar: (\d+)$", re.MULTILINE)
_KEYS = re.compile(r"\[info\] (\d+) keys read")
_DATABASE = re.compile(r"\[offset (\d+)\] Selecting DB ID (\d+)")
_RESIZE = 0xFB
_LONGEST_LENGTH = 9


class DamagedSnapshot(CachewrightError):
    """The file is damaged, cut off, or of a version that the server does not know."""


class Content(msgspec.Struct, frozen=True):
    """What a snapshot file contains.

    :ivar keys: number of keys by database, without databases that are empty.
    :ivar report: output of the tool.
    """

    keys: dict[int, int]
    report: str


async def check(binary: Path, path: Path, progress: Callable[[int], None]) -> Content:
    """Read the whole file. Raises DamagedSnapshot, or OSError if the program does not run.

    :param binary: valkey-server.
    :param progress: called with the bytes that have been read.
    """
    size = (await asyncio.to_thread(path.stat)).st_size
    child = await asyncio.create_subprocess_exec(
        _PROGRAM,
        str(path),
        executable=binary,
        cwd=path.parent,
        env={},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output = asyncio.create_task(child.communicate())
        while not output.done():
            await asyncio.wait([output], timeout=_POLL_SECONDS)
            progress(min(_bytes_read(child.pid), size))
        report = (await output)[0].decode(errors="replace")
    finally:
        if child.returncode is None:
            with suppress(ProcessLookupError):
                child.kill()
            await child.wait()
    counted = _KEYS.search(report)
    if child.returncode or counted is None:
        raise DamagedSnapshot(f"{path.name}: {_reason(report)}")
    progress(size)
    return Content(await asyncio.to_thread(_keys_by_database, path, report, int(counted[1])), report)


def _reason(report: str) -> str:
    """Return the line that names the error."""
    lines = [line for line in report.splitlines() if "error" in line.lower() or "Error" in line]
    return (lines or report.splitlines() or ["the file cannot be read"])[-1][:_SHOWN_CHARACTERS]


def _bytes_read(pid: int) -> int:
    """Return the bytes that a process has read; 0 once it has ended."""
    try:
        found = _READ.search(Path(f"/proc/{pid}/io").read_text())
    except OSError:
        return 0
    return int(found[1]) if found else 0


def _keys_by_database(path: Path, report: str, total: int) -> dict[int, int]:
    """Return the number of keys of each database, which follows its number in the file."""
    keys: dict[int, int] = {}
    with path.open("rb") as file:
        for offset, number in _DATABASE.findall(report):
            file.seek(int(offset))
            head = file.read(1 + _LONGEST_LENGTH)
            if head[:1] == bytes([_RESIZE]):
                keys[int(number)] = length_at(head, 1)
    if sum(keys.values()) != total:
        raise DamagedSnapshot(f"{path.name}: {total} keys were read, {sum(keys.values())} are announced")
    return {number: count for number, count in keys.items() if count}


def length_at(content: bytes, place: int) -> int:
    """Return the number that a file has at this place in its own encoding of lengths."""
    first = content[place]
    kind = first >> 6
    if kind == 0:
        return first & 0x3F
    if kind == 1:
        return (first & 0x3F) << 8 | content[place + 1]
    width = 4 if first == 0x80 else 8
    return int.from_bytes(content[place + 1 : place + 1 + width], "big")
