"""Rare states of a slot migration on real nodes: a granted handover, a snapshot process that survives."""

import time
from typing import Any

import psutil
from valkey import Valkey

from cachewright.valkey.migration.jobs import Job, jobs_in
from serving import freeze, thaw, until

_SHORT_SECONDS = 0.02
_EARLY = {"waiting-to-snapshot", "snapshotting", "replicating", "waiting-to-pause", "failover-paused"}


def newest_job(node: Valkey) -> Job:
    return jobs_in(node.execute_command("CLUSTER GETSLOTMIGRATIONS"))[0]


def process_of(node: Valkey) -> psutil.Process:
    return psutil.Process(node.info("server")["process_id"])


def slow_snapshots(*nodes: Valkey, key_ms: int = 50) -> None:
    """Make the nodes' processes that write snapshots wait after each key."""
    for node in nodes:
        node.config_set("rdb-key-save-delay", key_ms * 1000)


def short_pauses(*nodes: Valkey, milliseconds: int = 500) -> None:
    """Shorten the time for which a source pauses writes in a handover: twice this, and 2 s after the grant."""
    for node in nodes:
        node.config_set("cluster-manual-failover-timeout", milliseconds)


def freeze_at_grant(source: Valkey, target: Valkey) -> psutil.Process:
    """Freeze the target of the source's migration at the moment when its handover is granted, and return its process.

    Call it while the snapshot is written. The two nodes run in turns, so that each state of the job is seen."""
    giving, taking = process_of(source), process_of(target)
    until(lambda: newest_job(source).state == "snapshotting", "no snapshot")
    freeze(taking)
    until(lambda: newest_job(source).state != "snapshotting" or not giving.children(), "the snapshot does not end")
    deadline = time.monotonic() + 60
    while (state := newest_job(source).state) != "failover-granted":
        assert state in _EARLY, state
        assert time.monotonic() < deadline, state
        freeze(giving)
        thaw(taking)
        time.sleep(_SHORT_SECONDS)
        freeze(taking)
        thaw(giving)
        time.sleep(_SHORT_SECONDS)
    return taking


def surviving_child(source: Valkey, start: Any) -> psutil.Process:
    """A process that has written the snapshot of a migration, which `start` starts, and has not ended after it.

    It is frozen between its last byte and its end, because Valkey no longer ends it from then on."""
    giving = process_of(source)
    start()
    child = until(giving.children, "no snapshot")[0]
    freeze(giving)  # the snapshot fits in the pipe, and the child waits for its parent to read it
    until(lambda: _waits_for_parent(child), "the snapshot is not written")
    freeze(child)
    thaw(giving)
    until(lambda: newest_job(source).ended, "the migration does not end")
    return child


def _waits_for_parent(child: psutil.Process) -> bool:
    with open(f"/proc/{child.pid}/syscall") as file:  # noqa: PTH123  # a file of the kernel
        return file.read().split()[0] == "0"  # read(2): of the pipe by which the parent lets it end
