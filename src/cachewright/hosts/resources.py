"""Memory, disk and processors of this machine."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import msgspec
import psutil

_CGROUPS = Path("/sys/fs/cgroup")


class Resources(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes.

    :ivar memory: physical memory, or the limit of a control group (container, service) that is below it.
    :ivar memory_free: memory that can be taken without swapping.
    :ivar disk_free: free space of one file system.
    """

    memory: int
    memory_free: int
    disk_free: int


def resources(folder: Path) -> Resources:
    """The machine's resources, with the disk that holds `folder`."""
    return Resources(
        memory=total_memory(), memory_free=psutil.virtual_memory().available, disk_free=shutil.disk_usage(folder).free
    )


def cpus() -> int:
    """Number of processors that this process, and so its nodes, may use."""
    return len(os.sched_getaffinity(0))


def total_memory() -> int:
    """Bytes of memory that the processes of this machine can have in all."""
    return min(psutil.virtual_memory().total, *_group_limits(Path("/proc/self/cgroup"), _CGROUPS))


def _group_limits(groups: Path, root: Path) -> Iterator[int]:
    """Memory limits of this process's control groups and their parents, of version 2 and 1."""
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
