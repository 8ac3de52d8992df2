"""Checks of memory and disk."""

from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa

from cachewright.cli.doctor.finding import Finding
from cachewright.cli.doctor.records import read
from cachewright.config import Settings
from cachewright.hosts.resources import resources, total_memory
from cachewright.model.hosts import EMBEDDED, HostRecord
from cachewright.operations.node_placement import allocated_by_host
from cachewright.placement.capacity import Size
from cachewright.store import hosts

_GIGABYTE = 2**30


def check_memory(settings: Settings) -> Iterator[Finding]:
    free = resources(_existing(settings.data_dir)).memory_free
    message = f"{free / _GIGABYTE:.1f} GB free"
    if free < _GIGABYTE:
        yield Finding("memory", "warn", message, "A shard takes at least 1 GB when it is full.")
    else:
        yield Finding("memory", "ok", message)


def check_allocated(settings: Settings) -> Iterator[Finding]:
    """Compare the memory that is allocated to the nodes of each host with what the host has: this machine, or another
    one as its agent reports. Without a readable database there is no finding; `check_database` reports that."""
    found = read(settings, _allocated)
    if found is None:
        return
    for record, size in found:
        is_here = record.name == EMBEDDED
        if not is_here and (record.report is None or not size.nodes):
            continue
        memory = total_memory() if is_here or record.report is None else record.report.memory
        name = "the host" if is_here else f"host {record.name}"
        needed, there = size.host_memory / _GIGABYTE, memory / _GIGABYTE
        message = f"{needed:.1f} GB are allocated to {size.nodes} nodes, {name} has {there:.1f} GB"
        if needed > there:
            remedy = "Delete, shrink or move instances, or the kernel may kill a full node."
            yield Finding("allocated", "warn", message, remedy)
        else:
            yield Finding("allocated", "ok", message)


def _allocated(connection: sa.Connection) -> list[tuple[HostRecord, Size]]:
    """Return all hosts with the size of their nodes, this machine first."""
    sizes = allocated_by_host(connection)
    every = [(host, sizes.get(host.name, Size())) for host in hosts.every(connection)]
    return sorted(every, key=lambda each: each[0].name != EMBEDDED)


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
