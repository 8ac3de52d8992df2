"""The files of a node's append-only log: their manifest, and where a log ends at a given second.

A node writes a line with the time before the first command of a second (`aof-timestamp-enabled`). `valkey-check-aof`
cuts a file there. The tool is valkey-server itself, under that name.

Source: aof.c and valkey-check-aof.c of Valkey 9.1.
"""

import asyncio
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from cachewright.errors import CachewrightError

MANIFEST = "appendonly.aof.manifest"

_PROGRAM = "valkey-check-aof"
_LINE = re.compile(r"^file (\S+) seq (\d+) type ([bih])", re.MULTILINE)
_INCREMENT = re.compile(r"\.(\d+)\.incr\.aof$")
_ALL_LATER = "has nothing before timestamp"
_SHOWN_CHARACTERS = 300
_TIME = re.compile(rb"#TS:(\d{1,12})\r\n")
_TIME_BYTES = 20
"""Length of the longest of them."""


class DamagedLog(CachewrightError):
    """The file is damaged."""


class LogFile(msgspec.Struct, frozen=True):
    """:ivar kind: `b` for a base, `i` for an increment, `h` for one that is replaced."""

    name: str
    number: int
    kind: Literal["b", "i", "h"]


def parse(manifest: str) -> list[LogFile]:
    """Return the base and the increments after it, in order; empty without a base."""
    files = [LogFile(name, int(number), kind) for name, number, kind in _LINE.findall(manifest)]
    bases = [file for file in files if file.kind == "b"]
    increments = sorted((file for file in files if file.kind == "i"), key=lambda file: file.number)
    return [*bases, *increments] if len(bases) == 1 else []


class LikelyTimes:
    """The latest time in increments, read in parts. Values of clients that look like a time count as well.

    :ivar latest: epoch seconds, 0 without one.
    """

    def __init__(self) -> None:
        self.latest = 0
        self._rest = b""

    def feed(self, part: bytes) -> None:
        text = self._rest + part
        self.latest = max((self.latest, *map(int, _TIME.findall(text))))
        self._rest = text[-_TIME_BYTES:]


class Times:
    """The latest time in one increment, read in parts. Values of clients are skipped, which takes longer.

    :ivar latest: epoch seconds, 0 without one.
    """

    def __init__(self) -> None:
        self.latest = 0
        self._rest = b""
        self._skipped = 0

    def feed(self, part: bytes) -> None:
        text, at = self._rest + part, 0
        while True:
            step = min(self._skipped, len(text) - at)
            at, self._skipped = at + step, self._skipped - step
            end = text.find(b"\r\n", at)
            if self._skipped or end < 0:
                self._rest = text[at:]
                return
            line, at = text[at:end], end + 2
            if line[:1] == b"$" and line[1:].isdigit():
                self._skipped = int(line[1:]) + 2  # the value and the end of its line
            elif found := _TIME.fullmatch(line + b"\r\n"):
                self.latest = max(self.latest, int(found[1]))


def number_of(name: str) -> int | None:
    """Return the number of an increment by its name; None for a base."""
    found = _INCREMENT.search(name)
    return int(found[1]) if found else None


def manifest_of(names: Iterable[str]) -> str:
    """Return the manifest of a base and its increments, given in any order."""
    ordered = sorted(names, key=lambda name: number_of(name) or 0)
    lines = []
    for name in ordered:
        number = number_of(name)
        lines.append(f"file {name} seq {1 if number is None else number} type {'b' if number is None else 'i'}\n")
    return "".join(lines)


async def cut_after(binary: Path, increments: Sequence[Path], second: int) -> None:
    """Delete everything that was written after a second from increments, given in order. Raises DamagedLog, OSError.

    :param binary: valkey-server.
    """
    for place, path in enumerate(increments):
        size = (await asyncio.to_thread(path.stat)).st_size
        if size and await _cut(binary, path, second) < size:
            for later in increments[place + 1 :]:
                await asyncio.to_thread(later.unlink)
            return


async def _cut(binary: Path, path: Path, second: int) -> int:
    """Cut one file, and return its size."""
    child = await asyncio.create_subprocess_exec(
        _PROGRAM,
        "--truncate-to-timestamp",
        str(second),
        str(path),
        executable=binary,
        cwd=path.parent,
        env={},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await child.communicate(b"y\n")
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    said = output.decode(errors="replace")
    if child.returncode and _ALL_LATER in said:
        await asyncio.to_thread(os.truncate, path, 0)  # the tool refuses to do that
    elif child.returncode:
        raise DamagedLog(f"{path.name}: {said[-_SHOWN_CHARACTERS:]}")
    return (await asyncio.to_thread(path.stat)).st_size
