"""Log files of nodes on this machine, read from where an earlier read ended."""

import os
from pathlib import Path

from cachewright.hosts.host import LogPart, LogPosition

_READ_BYTES = 64 * 1024
"""Limit of one read. Nodes log warnings only, a few lines a day."""

_TAIL_BYTES = 2000


def tail(log: Path, start: int) -> str:
    """Return the last lines that were logged after the offset `start`, in bytes."""
    try:
        with log.open("rb") as file:
            file.seek(start)
            return file.read()[-_TAIL_BYTES:].decode(errors="replace")
    except OSError:
        return ""


def is_read(log: Path, position: LogPosition) -> bool:
    """Whether a position is the end of the log. Costs one system call."""
    try:
        state = log.stat()
    except OSError:
        return True
    return (state.st_ino, state.st_size) == (position.file, position.offset)


def read(log: Path, after: LogPosition | None) -> LogPart:
    """Return the complete lines after a position: see `Host.read_log`."""
    try:
        with log.open("rb") as file:
            state = os.fstat(file.fileno())
            if after is None:
                start = max(0, state.st_size - _READ_BYTES)
            else:
                replaced = after.file != state.st_ino or after.offset > state.st_size
                start = 0 if replaced else after.offset
            file.seek(start)
            data = file.read(_READ_BYTES)
    except OSError:
        return LogPart(lines=(), position=after or LogPosition(file=0, offset=0))
    complete = data.rfind(b"\n") + 1
    if not complete and len(data) == _READ_BYTES:  # nodes do not log lines of this length
        complete = len(data)
    lines = data[:complete].decode(errors="replace").splitlines()
    return LogPart(lines=tuple(lines), position=LogPosition(file=state.st_ino, offset=start + complete))
