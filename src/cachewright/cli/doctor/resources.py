"""Checks of memory and disk."""

from collections.abc import Iterator
from pathlib import Path

from cachewright.cli.doctor.finding import Finding
from cachewright.cli.doctor.records import read
from cachewright.config import Settings
from cachewright.hosts.resources import resources, total_memory
from cachewright.operations import admission

_GIGABYTE = 2**30


def check_memory(settings: Settings) -> Iterator[Finding]:
    free = resources(_existing(settings.data_dir)).memory_free
    message = f"{free / _GIGABYTE:.1f} GB free"
    if free < _GIGABYTE:
        yield Finding("memory", "warn", message, "A shard takes at least 1 GB when it is full.")
    else:
        yield Finding("memory", "ok", message)


def check_allocated(settings: Settings) -> Iterator[Finding]:
    """Check allocated memory. Without a readable database there is no finding; `check_database` reports that."""
    allocated = read(settings, lambda connection: admission.allocated(connection, ""))
    if allocated is None:
        return
    _, host = allocated
    needed, there = host.size.host_memory / _GIGABYTE, total_memory() / _GIGABYTE
    message = f"{needed:.1f} GB are allocated to {host.size.nodes} nodes, the host has {there:.1f} GB"
    if needed > there:
        yield Finding("allocated", "warn", message, "Delete or shrink instances, or the kernel may kill a full node.")
    else:
        yield Finding("allocated", "ok", message)


def check_disk(settings: Settings) -> Iterator[Finding]:
    folder = _existing(settings.data_dir)
    free = resources(folder).disk_free
    message = f"{free / _GIGABYTE:.1f} GB free at {folder}"
    if free < _GIGABYTE:
        yield Finding("disk", "fail", message, "Free space: caches that cannot write their files reject writes.")
    else:
        yield Finding("disk", "ok", message)


def _existing(folder: Path) -> Path:
    """The directory, or its first existing parent."""
    return next(path for path in (folder, *folder.parents) if path.exists())
