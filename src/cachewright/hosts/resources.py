"""Memory, disk and processors of this machine."""

import os
import resource
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

import msgspec
import psutil

_CGROUPS = Path("/sys/fs/cgroup")
_LEAST_FREE = 0.05
"""Share of the memory that stays free."""


class Resources(msgspec.Struct, frozen=True, kw_only=True):
    """Memory and disk in bytes.

    :ivar memory: physical memory, or a lower limit of a control group (container, service).
    :ivar memory_free: memory that can be taken without swapping.
    :ivar disk_free: free space of one file system.
    """

    memory: int
    memory_free: int
    disk_free: int

    @property
    def has_little_memory(self) -> bool:
        """Whether the memory is almost used up, so that a process whose need is not known must end."""
        return self.memory_free < _LEAST_FREE * self.memory


def resources(folder: Path) -> Resources:
    """Return the machine's resources. The disk is the one that holds `folder`."""
    return Resources(
        memory=total_memory(), memory_free=psutil.virtual_memory().available, disk_free=shutil.disk_usage(folder).free
    )


def resident_memory(pid: int) -> int:
    """Return the bytes of physical memory that a process has; 0 if it has ended."""
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


def end_first(pid: int) -> None:
    """Let the kernel end a process before all others if memory runs out. No effect if it has ended."""
    with suppress(OSError):
        Path(f"/proc/{pid}/oom_score_adj").write_text("1000")


def limit_process(pid: int, *, memory: int, file: int) -> None:
    """Limit the bytes of memory that a process may allocate, and of each file that it writes. It ends when it needs
    more, and leaves no copy of its memory on the disk. Earlier limits are replaced. No effect if it has ended."""
    limits = {resource.RLIMIT_DATA: memory, resource.RLIMIT_FSIZE: file, resource.RLIMIT_CORE: 0}
    with suppress(ProcessLookupError):
        for kind, most in limits.items():
            _, highest = resource.prlimit(pid, kind)
            resource.prlimit(pid, kind, (most if highest == resource.RLIM_INFINITY else min(most, highest), highest))


def cpus() -> int:
    """Return the number of processors that this process and its nodes may use."""
    return len(os.sched_getaffinity(0))


def total_memory() -> int:
    """Return the bytes of memory that all processes of this machine can use together."""
    return min(psutil.virtual_memory().total, *_group_limits(Path("/proc/self/cgroup"), _CGROUPS))


def _group_limits(groups: Path, root: Path) -> Iterator[int]:
    """Yield the memory limits of this process's control groups (version 2 and 1) and of their parents."""
    try:
        lines = groups.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            top, name = root, "memory.max"
        elif "memory" in controllers.split(","):
            top, name = root / "memory", "memory.limit_in_bytes"
        else:
            continue
        group = PurePosixPath(path.lstrip("/"))
        for folder in (group, *group.parents):
            try:
                yield int((top / folder / name).read_text())
            except (OSError, ValueError):  # "max" means no limit; a container does not see the parents of its own group
                continue
