"""Drains, lost hosts and rebalancing: what their commands say and start, on both databases."""

from typing import Any

import msgspec
import pytest

from cachewright.model.hosts import EMBEDDED, HostRecord, HostState
from cachewright.model.tasks import Control
from cachewright.operations.move_nodes import MOVE_NODES
from cachewright.operations.requests import NodeMove
from cachewright.operations.sentinel_places import watched_nodes
from cachewright.services import hosts as service
from cachewright.services import rebalance
from cachewright.services.accounts import InvalidInput
from cachewright.services.host_moves import is_obsolete, must_pause, running_moves
from cachewright.services.leaving_sentinels import leaving_sentinels
from cachewright.store import hosts, instances, sentinels, task_controls, tasks
from cachewright.store.transactions import SqlDatabase
from database_fixtures import a_task
from hosts_with_nodes import INSTANCE, NODES, REPORT, SENTINEL


def test_a_host_that_was_given_up_is_only_taken_up_again(database: SqlDatabase) -> None:
    with database.write() as connection:
        service.give_up(connection, "h2")
        refused: tuple[HostState, ...] = ("cordoned", "draining")
        for state in refused:
            with pytest.raises(InvalidInput, match="was given up as lost; uncordon it first"):
                service.set_state(connection, "h2", state)
        params = {"cause": "lost_host", "moves": [{"node_id": NODES[1].id}]}
        task = a_task(instance_id=INSTANCE.id, kind=MOVE_NODES.kind, params=params)
        assert not is_obsolete(connection, task, {EMBEDDED: "active", "h2": "lost"})
        service.set_state(connection, "h2", "active")
        assert is_obsolete(connection, task, {EMBEDDED: "active", "h2": "active"})


def test_drains_and_paused_tasks_do_not_hold_back_lost_nodes(database: SqlDatabase) -> None:
    def add(connection: Any, cause: str, *, paused: bool = False) -> None:
        task_id = f"{cause}{running_moves(connection, 'drain')}{paused}"
        added = a_task(id=task_id, instance_id=task_id, kind=MOVE_NODES.kind, params={"cause": cause, "moves": []})
        tasks.add(connection, added)
        if paused:
            task_controls.put(connection, task_id, Control(state="paused"))

    with database.write() as connection:
        add(connection, "drain")
        add(connection, "drain")
        add(connection, "drain", paused=True)
        add(connection, "zones")
        assert (running_moves(connection, "drain"), running_moves(connection, "lost_host")) == (2, 0)
        add(connection, "silent_host")
        assert (running_moves(connection, "drain"), running_moves(connection, "lost_host")) == (2, 1)


def test_a_lost_host_stays_until_it_has_no_nodes(database: SqlDatabase) -> None:
    with database.write() as connection:
        with pytest.raises(InvalidInput, match="of the server cannot be lost"):
            service.give_up(connection, EMBEDDED)
        assert service.give_up(connection, "h2") == 2
        host = hosts.get(connection, "h2")
        assert host
        assert host.state == "lost"
        assert service.staying(connection, "h2") == {}
        instances.change(connection, INSTANCE.id, spec_code="redis.single.xu1.large.1")
        assert "no copy" in service.staying(connection, "h2")[INSTANCE.id]
        instances.remove_nodes(connection, [NODES[1].id, NODES[3].id])
        sentinels.add(connection, [SENTINEL])
        with pytest.raises(InvalidInput, match="has a sentinel"):
            service.remove(connection, "h2")
        assert service.give_up(connection, "h2") == 0
        assert hosts.get(connection, "h2")
        sentinels.remove(connection, tls=False)
        assert service.give_up(connection, "h2") == 0
        assert hosts.get(connection, "h2") is None


def test_a_drain_says_why_sentinels_stay(database: SqlDatabase) -> None:
    """They leave while another host reports and may run them."""
    able = msgspec.structs.replace(REPORT, runs_sentinels=True)
    own = msgspec.structs.replace(SENTINEL, id="b" * 40, host="127.0.0.1", host_name=EMBEDDED)

    def leaving(name: str) -> tuple[int, str]:
        with database.read() as connection:
            return leaving_sentinels(connection, name)

    assert leaving("h2") == (0, "")
    with database.write() as connection:
        sentinels.add(connection, [SENTINEL, own])
    assert leaving("h2") == (1, "")
    assert leaving(EMBEDDED) == (1, "no other host that takes new nodes reports and may run sentinels")
    with database.write() as connection:
        hosts.saw(connection, "h2", "127.0.0.2", able)
    assert leaving(EMBEDDED) == (1, "")
    with database.write() as connection:
        instances.change(connection, INSTANCE.id, spec_code="redis.ha.xu1.large.r2.1")
        hosts.saw(connection, EMBEDDED, "10.0.0.1", REPORT)
        hosts.saw(connection, "h2", "10.0.0.2", able)
    assert leaving(EMBEDDED)[1].startswith("only sentinels on the host of the server reach nodes that listen on")
    with database.write() as connection:
        instances.change(connection, INSTANCE.id, spec_code=INSTANCE.spec_code)
    assert leaving(EMBEDDED) == (1, "")
    with database.write() as connection:
        hosts.change(connection, "h2", seen_at=1)
    assert leaving(EMBEDDED)[1].startswith("no other host")
    assert leaving("h2") == (1, "host h2 does not report")
    with database.write() as connection:
        hosts.saw(connection, "h2", "10.0.0.2", able)
        service.set_state(connection, EMBEDDED, "cordoned")
    assert leaving("h2")[1].startswith("no other host")


def test_a_drain_goes_on_while_sentinels_of_one_kind_can_leave(database: SqlDatabase) -> None:
    able = msgspec.structs.replace(REPORT, runs_sentinels=True)
    secured = msgspec.structs.replace(SENTINEL, id="c" * 40, port=4, authority="key")
    with database.write() as connection:
        sentinels.add(connection, [SENTINEL, secured])
        hosts.saw(connection, EMBEDDED, "127.0.0.1", able)
        assert leaving_sentinels(connection, "h2") == (2, "")
        sentinels.remove(connection, tls=False)
        count, reason = leaving_sentinels(connection, "h2")
        assert (count, reason.rpartition("reports and ")[2]) == (1, "has a valkey-server with TLS")
        hosts.saw(connection, EMBEDDED, "127.0.0.1", msgspec.structs.replace(able, tls=True))
        assert leaving_sentinels(connection, "h2") == (1, "")


def test_nodes_count_for_the_sentinels_that_watch_them(database: SqlDatabase) -> None:
    with database.write() as connection:
        instances.change(connection, INSTANCE.id, spec_code="redis.ha.xu1.large.r2.1")
        assert {node.id for node in watched_nodes(connection, tls=False)} == {node.id for node in NODES}
        assert watched_nodes(connection, tls=True) == []
        for node in NODES:
            instances.change_node(connection, node.id, tls_port=node.bus_port + 1000)
        assert watched_nodes(connection, tls=False) == []
        assert len(watched_nodes(connection, tls=True)) == len(NODES)


def test_a_drain_says_which_instances_wait(database: SqlDatabase) -> None:
    failed = a_task(instance_id=INSTANCE.id, kind=MOVE_NODES.kind, status="FAILED", message="no room", end_time=1)
    running = a_task(id="u", instance_id=INSTANCE.id, kind=MOVE_NODES.kind)

    def leaving() -> dict[str, tuple[int, str]]:
        with database.read() as connection:
            return dict(service.leaving(connection, "h2"))

    assert leaving() == {INSTANCE.id: (2, "")}
    with database.write() as connection:
        tasks.add(connection, failed)
    assert leaving() == {INSTANCE.id: (2, "no room")}
    with database.write() as connection:
        hosts.change(connection, "h2", seen_at=1)
    assert leaving() == {INSTANCE.id: (2, "host h2 does not report")}
    with database.write() as connection:
        instances.change_node(connection, NODES[1].id, should_run=False)
    assert leaving() == {INSTANCE.id: (2, f"node {NODES[1].id} is stopped; start it")}
    with database.write() as connection:
        instances.change(connection, INSTANCE.id, status="CREATEFAILED")
    assert leaving() == {INSTANCE.id: (2, "it is CREATEFAILED")}
    with database.write() as connection:
        tasks.add(connection, running)
    assert leaving() == {INSTANCE.id: (2, "")}
    with database.write() as connection:
        task_controls.put(connection, running.id, Control(state="paused"))
    assert leaving() == {INSTANCE.id: (2, "its task is paused")}
    with database.write() as connection:
        task_controls.put(connection, running.id, Control())
        for node in NODES:
            instances.change_node(connection, node.id, apart=True, should_run=False)
    assert leaving() == {INSTANCE.id: (2, "")}, "the task has not removed the former nodes yet"
    with database.write() as connection:
        for node in NODES:
            instances.change_node(connection, node.id, apart=False)
        instances.change(connection, INSTANCE.id, spec_code="redis.single.xu1.large.1")
        instances.change_certificate(connection, INSTANCE.id, "certificate")
    assert leaving() == {}


def test_a_replaced_node_counts_as_moving_until_it_is_removed(database: SqlDatabase) -> None:
    params = {"cause": "drain", "moves": [{"node_id": NODES[1].id}]}
    with database.write() as connection:
        tasks.add(connection, a_task(instance_id=INSTANCE.id, kind=MOVE_NODES.kind, params=params))
        assert service.moving(connection) == {"h2": 1}
        instances.change_node(connection, NODES[1].id, apart=True, should_run=False)
        assert service.moving(connection) == {"h2": 1}
        listed = instances.nodes_by_host(connection, INSTANCE.project_id)
        assert {name: len(nodes) for name, nodes in listed.items()} == hosts.node_counts(connection)
        instances.remove_nodes(connection, [NODES[1].id])
        assert service.moving(connection) == {}


def test_a_rebalance_stores_a_task_for_each_instance(database: SqlDatabase) -> None:
    third = HostRecord(name="h3", address="127.0.0.3", zone="local", state="active", created_at=1)
    with database.write() as connection:
        hosts.add(connection, third)
        hosts.saw(connection, "h3", "127.0.0.3", REPORT)
        moves = rebalance.plan(connection)
        assert {move.to for move in moves} == {"h3"}
        assert rebalance.start(connection, moves) == {}
        (task,) = tasks.unfinished_of(connection, INSTANCE.id)
        params = MOVE_NODES.params_of(task)
        assert params.cause == "rebalance"
        assert set(params.moves) == {NodeMove(move.node.id, "h3") for move in moves}
        assert INSTANCE.id in rebalance.start(connection, moves)
        service.set_state(connection, "h3", "cordoned")
        assert rebalance.plan(connection) == []


def test_pauses_after_moves_that_failed_grow() -> None:
    params = {"cause": "drain", "moves": []}
    failed = a_task(kind=MOVE_NODES.kind, params=params, status="FAILED", end_time=1_000_000, error_code="DCS.9004")
    ended = msgspec.structs.replace(failed, status="SUCCESS")
    cancelled = msgspec.structs.replace(failed, error_code="DCS.9005")
    assert not must_pause([], "drain", 1_000_001)
    assert must_pause([failed], "drain", 1_059_000)
    assert not must_pause([failed], "drain", 1_061_000)
    assert must_pause([failed, failed], "drain", 1_061_000)
    assert must_pause([failed] * 20, "drain", 4_599_000)
    assert not must_pause([failed] * 20, "drain", 4_601_000)
    assert not must_pause([failed], "lost_host", 1_000_001)
    assert not must_pause([ended, failed], "drain", 1_000_001)
    assert not must_pause([cancelled], "drain", 1_000_001)


def test_a_host_that_has_not_reported_has_no_address(database: SqlDatabase) -> None:
    with database.write() as connection:
        service.add(connection, "h3", "local")
        assert hosts.other_addresses(connection) == ("127.0.0.2",)
