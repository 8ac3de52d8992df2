"""Hazards of slot migration on real nodes: writes that a late target would discard, processes that survive."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import psutil
import pytest
from bench.nodes import BareCluster, client_of
from valkey import Valkey

from cachewright.clock import now_ms
from cachewright.config import Settings
from cachewright.hosts.local import LocalHost
from cachewright.operations.context import OperationContext
from cachewright.operations.slot_moves.handover_guard import HandoverGuard
from cachewright.operations.slot_moves.leaked_children import end_leaked_children
from cachewright.store.opening import open_database
from cachewright.valkey.client import connect
from cachewright.valkey.migration.failure import MigrationFailed
from cachewright.valkey.migration.jobs import cancel_all, jobs_in
from cachewright.valkey.migration.source_state import MigrationState
from cachewright.valkey.node_log import confirmed, write_loss_warnings
from cachewright.valkey.slots import SLOTS, SlotRange
from claim_of_server import RefusingClaim, access_with, elsewhere
from granted_handover import freeze_at_grant, newest_job, process_of, short_pauses, slow_snapshots, surviving_child
from serving import thaw, until
from standalone_node import OPEN

ALL = SlotRange(0, SLOTS - 1)
KEYS = 20


class Pair:
    """A primary with all slots and some keys, and one without slots."""

    def __init__(self, cluster: BareCluster, source: Valkey, target: Valkey) -> None:
        self.nodes = cluster.nodes
        self.source, self.target = source, target
        settings = Settings(data_dir=cluster.root)
        self.context = OperationContext(open_database(settings), settings, LocalHost(settings), MigrationState(2))
        self.cluster = cluster

    def migrate(self) -> None:
        self.source.execute_command("CLUSTER MIGRATESLOTS SLOTSRANGE", 0, SLOTS - 1, "NODE", self.nodes[1].id)

    def owner(self) -> str:
        return next(node_id for node_id, parts in self.cluster.owned().items() if parts)

    def warnings(self) -> list[Any]:
        logged = asyncio.run(self.context.host.read_log(self.nodes[0].id, None))
        found = write_loss_warnings(logged.lines, now_ms())
        with_jobs = confirmed(found, jobs_in(self.source.execute_command("CLUSTER GETSLOTMIGRATIONS")))
        assert with_jobs == found
        return found

    def end_leaked(self) -> None:
        asyncio.run(end_leaked_children(self.context, self.nodes[0], OPEN))


def has_ended(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


@pytest.fixture
def pair() -> Iterator[Pair]:
    with BareCluster(masters=1, empty=1) as cluster, ExitStack() as stack:
        source, target = (stack.enter_context(client_of(node)) for node in cluster.nodes)
        for number in range(KEYS):
            source.set(f"key:{number}", "x" * 100)
        yield Pair(cluster, source, target)


def test_a_target_that_takes_slots_too_late_discards_writes_and_the_source_warns_of_it(pair: Pair) -> None:
    """What Valkey does on its own. It is the reason for the guard."""
    short_pauses(pair.source, pair.target)
    slow_snapshots(pair.source)
    pair.migrate()
    frozen = freeze_at_grant(pair.source, pair.target)
    until(lambda: newest_job(pair.source).ended, "the source waits for ever")
    assert pair.source.set("key:1", "acknowledged")
    thaw(frozen)
    until(lambda: pair.owner() == pair.nodes[1].id, "the target does not take the slots")
    assert pair.target.get("key:1") != "acknowledged"
    (warning,) = until(pair.warnings, "the source does not warn")
    assert warning.target == pair.nodes[1].id
    assert warning.slots == (ALL,)
    assert warning.job == newest_job(pair.source).name


def test_a_target_that_is_frozen_in_a_handover_is_stopped_before_a_write_can_be_lost(pair: Pair) -> None:
    short_pauses(pair.source, pair.target, milliseconds=2500)
    slow_snapshots(pair.source)

    claim = RefusingClaim(1)
    source, target = map(elsewhere, pair.nodes)
    guard = HandoverGuard(context=pair.context, source=source, target=target, access=access_with(claim))

    async def guarded() -> None:
        async with guard.watching():
            await asyncio.to_thread(freeze_at_grant, pair.source, pair.target)
            claim.refusals = 4  # both the watcher and what waits for it are refused, and ask again
            raise MigrationFailed(["the target does not answer"])  # as a mover does before the pause ends

    taking = process_of(pair.target)
    pair.migrate()
    with pytest.raises(MigrationFailed):
        asyncio.run(guarded())
    assert has_ended(taking)
    assert pair.context.hazards.stopped_targets == 1
    until(lambda: newest_job(pair.source).ended, "the source waits for ever")
    assert pair.source.set("key:1", "acknowledged")
    asyncio.run(pair.context.host.start(pair.nodes[1].id))
    pair.cluster.settle()
    assert pair.owner() == pair.nodes[0].id
    assert pair.source.get("key:1") == "acknowledged"


def test_a_granted_handover_is_not_cancelled(pair: Pair) -> None:
    """A source whose export is cancelled serves writes again at once, and discards them when the target takes over."""
    short_pauses(pair.source, pair.target, milliseconds=5000)
    slow_snapshots(pair.source)
    pair.migrate()
    frozen = freeze_at_grant(pair.source, pair.target)

    async def cancel(seconds: float) -> None:
        async with asyncio.timeout(seconds), connect(pair.nodes[0], OPEN) as source:
            await cancel_all(source)

    with pytest.raises(TimeoutError):
        asyncio.run(cancel(1))
    assert newest_job(pair.source).state == "failover-granted"
    thaw(frozen)
    asyncio.run(cancel(60))
    assert newest_job(pair.source).state == "success"
    until(lambda: pair.owner() == pair.nodes[1].id, "the target does not take the slots")


def test_an_export_that_is_not_granted_is_cancelled(pair: Pair) -> None:
    slow_snapshots(pair.source, key_ms=500)
    pair.migrate()
    until(lambda: newest_job(pair.source).state == "snapshotting", "no snapshot")

    async def cancel() -> None:
        async with connect(pair.nodes[0], OPEN) as source:
            await cancel_all(source)
            await cancel_all(source)  # nothing to cancel is no error

    asyncio.run(cancel())
    assert newest_job(pair.source).state == "cancelled"


def test_a_snapshot_process_that_survives_its_migration_is_ended(pair: Pair) -> None:
    slow_snapshots(pair.source)
    child = surviving_child(pair.source, pair.migrate)
    assert not has_ended(child)
    with pytest.raises(Exception, match="child process"):  # it stands in the way of everything that forks
        pair.source.execute_command("BGSAVE")
    pair.end_leaked()
    assert has_ended(child)
    assert pair.context.hazards.ended_children == 1
    until(lambda: pair.source.info("persistence")["slot_migration_fork_in_progress"] == 0, "it is still counted")
    assert pair.source.execute_command("BGSAVE")


def test_processes_that_have_work_to_do_are_left_alone(pair: Pair) -> None:
    slow_snapshots(pair.source, key_ms=150)
    parent = process_of(pair.source)
    for begin, field in (
        (pair.source.bgrewriteaof, "aof_rewrite_in_progress"),
        (pair.source.bgsave, "rdb_bgsave_in_progress"),
        (pair.migrate, "slot_migration_fork_in_progress"),
    ):
        begin()
        (child,) = until(parent.children, f"no child: {field}")
        pair.end_leaked()
        assert pair.source.info("persistence")[field] == 1
        assert not has_ended(child)
        child.kill()
        until(lambda: not parent.children(), "the child does not end")
    assert pair.context.hazards.ended_children == 0
