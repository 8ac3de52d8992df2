"""Hazards of slot migration are in the record of the task, in an incident and in the metrics."""

import re
import sqlite3
from contextlib import closing
from typing import Any

import pytest
from valkey import Valkey

from caches import cache, operator_of
from granted_handover import freeze_at_grant, newest_job, short_pauses, slow_snapshots, surviving_child
from sdk_calls import created, ended, progress, resize, show
from serving import Server, freeze, thaw, until

KEYS = 40


@pytest.fixture
def small(own_server: Server) -> tuple[Server, Any, str]:
    client = own_server.client()
    instance_id = created(client, 1)
    caches = cache(client, instance_id)
    for number in range(KEYS):
        caches.set(f"key:{number}", "x" * 100)
    return own_server, client, instance_id


def counter(server: Server, name: str, labels: str = "") -> float:
    match = re.search(rf"^{re.escape(name + labels)} (\S+)$", server.metrics(), re.MULTILINE)
    assert match, name
    return float(match[1])


def incidents(server: Server) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(server.data_dir / "cachewright.db")) as database:
        database.row_factory = sqlite3.Row
        return [dict(row) for row in database.execute("SELECT * FROM incidents ORDER BY began_at, id")]


def node_at(server: Server, port: int) -> Valkey:
    return operator_of(server, "127.0.0.1", port, decode_responses=True)


def port_of_new_node(server: Server, known: int) -> int:
    texts = [path.read_text() for path in (server.data_dir / "nodes").glob("*/valkey.conf")]
    ports = {int(dict(line.split(" ", 1) for line in text.splitlines())["port"]) for text in texts}
    return next(iter(ports - {known}))


def test_writes_that_may_be_lost_are_in_the_task_the_incidents_and_the_metrics(small: tuple[Server, Any, str]) -> None:
    """The server is frozen during the handover, so that its guard cannot prevent the loss."""
    server, client, instance_id = small
    assert server.process is not None
    port = show(client, instance_id).port
    with node_at(server, port) as source:
        slow_snapshots(source, key_ms=40)
        short_pauses(source)
        task_id = resize(client, instance_id, 2)
        until(lambda: source.execute_command("CLUSTER GETSLOTMIGRATIONS"), "no migration")
        freeze(server.process)
        try:
            with node_at(server, port_of_new_node(server, port)) as target:
                frozen = freeze_at_grant(source, target)
                until(lambda: newest_job(source).ended, "the source waits for ever")
                thaw(frozen)
                until(lambda: newest_job(target).state == "success", "the target does not take the slots")
        finally:
            thaw(server.process)
        slow_snapshots(source, key_ms=0)
    assert ended(client, instance_id, task_id).status == "SUCCESS"
    assert show(client, instance_id).status == "RUNNING"

    record = server.call("GET", f"tasks/{task_id}")[1]
    assert "may have lost writes to slots" in record["message"]
    details = [
        sub.detail
        for step in progress(client, instance_id, task_id).step_details
        for sub in step.sub_step_details or []
    ]
    assert any("warning:node" in detail and "may have lost writes" in detail for detail in details)
    found = until(lambda: [row for row in incidents(server) if row["kind"] == "write_loss_risk"], "no incident")
    assert (found[0]["error_code"], found[0]["ended_at"]) == ("DCS.9012", None)
    assert "may have lost writes" in found[0]["detail"]
    until(lambda: counter(server, "cachewright_write_loss_warnings_total") == 1, "it is not counted")
    assert counter(server, "cachewright_incidents_open", '{kind="write_loss_risk"}') == 1

    server.kill()
    server.start()
    until(lambda: counter(server, "cachewright_write_loss_warnings_total") == 1, "it is not found again")
    assert [row["ended_at"] for row in incidents(server) if row["kind"] == "write_loss_risk"] == [None]


def test_a_target_that_freezes_in_a_handover_is_stopped_in_time_and_the_scale_goes_on(
    small: tuple[Server, Any, str],
) -> None:
    server, client, instance_id = small
    port = show(client, instance_id).port
    with node_at(server, port) as source:
        slow_snapshots(source, key_ms=40)
        short_pauses(source, milliseconds=2500)
        task_id = resize(client, instance_id, 2)
        until(lambda: source.execute_command("CLUSTER GETSLOTMIGRATIONS"), "no migration")
        with node_at(server, port_of_new_node(server, port)) as target:
            frozen = freeze_at_grant(source, target)
        until(lambda: newest_job(source).state != "failover-granted", "the source waits for ever")
        slow_snapshots(source, key_ms=0)
    assert frozen.pid not in {process.pid for process in server.nodes()}
    caches = cache(client, instance_id)
    for number in range(KEYS):
        assert caches.set(f"key:{number}", "acknowledged")
    assert ended(client, instance_id, task_id).status == "SUCCESS"
    caches = cache(client, instance_id)
    assert len(caches.get_primaries()) == 2
    assert {caches.get(f"key:{number}") for number in range(KEYS)} == {b"acknowledged"}
    assert counter(server, "cachewright_migration_targets_stopped_total") == 1


def test_a_snapshot_process_that_survives_is_ended_while_no_task_runs(small: tuple[Server, Any, str]) -> None:
    server, client, instance_id = small
    assert ended(client, instance_id, resize(client, instance_id, 2)).status == "SUCCESS"
    first, second = [node.port for node in cache(client, instance_id).get_primaries()]
    with node_at(server, first) as source, node_at(server, second) as target:
        slow_snapshots(source, key_ms=40)
        target_id = target.execute_command("CLUSTER MYID")
        (own,) = [line for line in source.execute_command("CLUSTER", "NODES").splitlines() if "myself" in line]
        words = ("SLOTSRANGE", *own.split()[-1].split("-"), "NODE", target_id)
        child = surviving_child(source, lambda: source.execute_command("CLUSTER MIGRATESLOTS", *words))
        until(lambda: counter(server, "cachewright_snapshot_processes_ended_total") == 1, "it is not ended")
        until(lambda: not child.is_running() or child.status() == "zombie", "it runs")
        slow_snapshots(source, key_ms=0)
