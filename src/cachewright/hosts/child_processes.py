"""Child processes of a node on this machine: list them, and end one."""

import asyncio
import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import psutil

from cachewright.hosts.host import ChildProcess

_STAT_BYTES = 1024
_TITLE_BYTES = 256
_DEAD = (b"Z", b"X")
_POLL_SECONDS = 0.02


def start_ticks(pid: int) -> bytes | None:
    """Return the start time of a running process in ticks since the system started, or None if it does not run."""
    try:
        fields = _beginning(f"/proc/{pid}/stat", _STAT_BYTES).rpartition(b")")[2].split()
    except OSError:
        return None
    return None if fields[0] in _DEAD else fields[19]


def children_of(pid: int) -> list[ChildProcess]:
    """Return the children of a process. A process without children costs one small read."""
    found = []
    for child in _pids_of_children(pid):
        ticks = start_ticks(child)
        with suppress(OSError):
            # Valkey writes its title over its arguments, and fills the rest of them with null bytes.
            title = _beginning(f"/proc/{child}/cmdline", _TITLE_BYTES).partition(b"\0")[0].decode(errors="replace")
            if ticks:
                found.append(ChildProcess(pid=child, start_ticks=int(ticks), title=title))
    return found


async def end_child(parent: int, child: ChildProcess, grace_seconds: float) -> bool:
    """End a child by SIGUSR1, the signal by which Valkey ends its own children, and by SIGKILL after `grace_seconds`.
    Return whether it has ended."""
    for number in (signal.SIGUSR1, signal.SIGKILL):
        if child not in children_of(parent):  # another process may have its pid now
            return True
        with suppress(ProcessLookupError):
            os.kill(child.pid, number)
        deadline = time.monotonic() + grace_seconds
        while time.monotonic() < deadline:
            if start_ticks(child.pid) != str(child.start_ticks).encode():
                return True
            await asyncio.sleep(_POLL_SECONDS)
    return False


def _pids_of_children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_bytes().split()]
    except OSError:  # the process has ended, or the kernel has no such file
        with suppress(psutil.Error):
            return [child.pid for child in psutil.Process(pid).children()]
        return []


def _beginning(path: str, size: int) -> bytes:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return os.read(descriptor, size)
    finally:
        os.close(descriptor)
