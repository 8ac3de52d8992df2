"""What is recorded when nodes move between hosts, on both databases."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from cachewright.model.hosts import EMBEDDED, HostRecord, HostReport, HostState
from cachewright.model.instances import Node
from cachewright.model.sentinels import Sentinel
from cachewright.model.tasks import Control
from cachewright.operations import move_nodes
from cachewright.operations.actions import moves
from cachewright.operations.actions.action import NodeArguments
from cachewright.operations.actions.moves import MoveNode, succeed
from cachewright.operations.move_nodes import MOVE_NODES
from cachewright.operations.requests import NodeMove
from cachewright.services import hosts as service
from cachewright.services import rebalance
from cachewright.services.accounts import InvalidInput
from cachewright.services.host_moves import is_obsolete, must_pause, running_moves
from cachewright.services.leaving_sentinels import leaving_sentinels
from cachewright.store import hosts, instances, sentinels, stale_nodes, task_controls, tasks
from cachewright.store.transactions import SqlDatabase
from cachewright.tasks.operation import ActionFailed
from cachewright.topologies import layout
from cachewright.valkey.sentinel import Agreement, Watched, agreement
from cachewright.valkey.slots import SlotRange
from cachewright.valkey.topology import Member, View
from database_fixtures import a_task, an_instance, migrated

GB = 2**30
REPORT = HostReport(release="1", cpus=1, memory=64 * GB, memory_free=64 * GB, disk_free=64 * GB)
INSTANCE = an_instance(status="RUNNING", spec_code="redis.cluster.xu1.large.r2.s1.2", address="127.0.0.1", seed_port=1)

SENTINEL = Sentinel(id="a" * 40, host="127.0.0.2", port=3, secret="", created_at=1, host_name="h2")


def node(number: int, host_name: str, **changed: Any) -> Node:
    plain = Node(
        id=f"{number:040x}",
        instance_id=INSTANCE.id,
        shard=number // 2,
        role="replica" if number % 2 else "primary",
        host="127.0.0.1" if host_name == EMBEDDED else "127.0.0.2",
        port=number + 1,
        bus_port=number + 101,
        maxmemory=GB,
        should_run=True,
        created_at=0,
        host_name=host_name,
    )
    return msgspec.structs.replace(plain, **changed)


NODES = [node(0, EMBEDDED), node(1, "h2"), node(2, EMBEDDED), node(3, "h2")]


@pytest.fixture
def database(database_url: str) -> Iterator[SqlDatabase]:
    database = migrated(database_url)
    with database.write() as connection:
        hosts.saw(connection, EMBEDDED, "127.0.0.1", REPORT)
        service.add(connection, "h2", "local")
        hosts.saw(connection, "h2", "127.0.0.2", REPORT)
        instances.add(connection, INSTANCE)
        instances.add_nodes(connection, NODES)
    yield database
    database.close()


def test_a_node_that_was_given_up_is_listed_for_its_host(database: SqlDatabase) -> None:
    with database.write() as connection:
        stale_nodes.give_up(connection, NODES[1])
        stale_nodes.give_up(connection, NODES[1])
        assert stale_nodes.on_host(connection, "h2") == [NODES[1].id]
        assert stale_nodes.on_host(connection, EMBEDDED) == []
        assert NODES[1].id not in {found.id for found in instances.nodes_of(connection, INSTANCE.id)}
        stale_nodes.deleted(connection, [NODES[1].id])
        assert stale_nodes.on_host(connection, "h2") == []


def test_a_replacement_gets_the_role_and_the_address(database: SqlDatabase) -> None:
    with database.write() as connection:
        for _ in range(2):  # a repetition changes nothing
            succeed(connection, INSTANCE.id, NODES[0].id, NODES[1].id)
        found = {found.id: found for found in instances.nodes_of(connection, INSTANCE.id)}
        assert (found[NODES[0].id].role, found[NODES[1].id].role) == ("replica", "primary")
        instance = instances.find(connection, INSTANCE.id)
        assert instance
        assert (instance.address, instance.seed_port) == ("127.0.0.2", 2)
        succeed(connection, INSTANCE.id, "0" * 40, "f" * 40)


async def test_a_replacement_that_is_removed_gives_back_the_address(
    database: SqlDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A move is cancelled while clients leave a replica whose address the instance has."""
    seed, lead = NODES[0], NODES[1]
    params = {"cause": "drain", "moves": [{"node_id": seed.id}]}
    task = a_task(instance_id=INSTANCE.id, kind=MOVE_NODES.kind, params=params)
    added = node(8, "h2", id=layout.node_id(INSTANCE.id, 0, 1, salt=task.run_id), shard=0, role="replica")
    with database.write() as connection:
        instances.add_nodes(connection, [added])
        succeed(connection, INSTANCE.id, seed.id, added.id)
        instances.change_node(connection, seed.id, should_run=False)
        found = instances.nodes_of(connection, INSTANCE.id)
    member = Member(id=lead.id, address="", flags=frozenset(), primary=None, linked=True, slots=(SlotRange(0, 1),))
    view = View(ok=True, epoch=1, members={lead.id: member})
    removed: list[str] = []

    async def look(_: object) -> Any:
        return INSTANCE, found, {one.id: view for one in found}

    async def done(*_: object) -> None: ...

    async def change_node(node_id: str, **values: Any) -> None:
        with database.write() as connection:
            instances.change_node(connection, node_id, **values)

    async def remove_node(_: object, one: Node) -> None:
        with database.read() as connection:
            instance = instances.find(connection, INSTANCE.id)
        assert instance
        assert (instance.address, instance.seed_port) == (seed.host, seed.port), "before the node is removed"
        removed.append(one.id)

    monkeypatch.setattr(move_nodes.cluster_membership, "forget", done)
    monkeypatch.setattr(move_nodes, "remove_node", remove_node)
    context: Any = SimpleNamespace(look=look, database=database, access=lambda _: None, change_node=change_node)
    await MOVE_NODES.recover(context, task)
    assert removed == [added.id]
    with database.read() as connection:
        after = {one.id: one for one in instances.nodes_of(connection, INSTANCE.id)}
    assert (after[seed.id].role, after[seed.id].should_run, after[added.id].role) == ("primary", True, "replica")


@pytest.mark.parametrize(
    ("slots", "state", "message"),
    [
        ((SlotRange(0, 1),), "lost", ""),
        ((), "lost", "another node .* does not answer"),
        ((SlotRange(0, 1),), "active", "is not given up any more"),
    ],
)
async def test_a_replica_takes_over_only_from_a_primary_that_was_given_up(
    database: SqlDatabase,
    monkeypatch: pytest.MonkeyPatch,
    slots: tuple[SlotRange, ...],
    state: HostState,
    message: str,
) -> None:
    replica, lost = NODES[0], NODES[1]
    with database.write() as connection:
        hosts.change(connection, "h2", state=state)
    taken: list[str] = []

    def views() -> dict[str, View | None]:
        owner = replica.id if taken else lost.id
        owned = {lost.id: slots, replica.id: ()} if not taken else {replica.id: (SlotRange(0, 1),), lost.id: ()}
        return {
            replica.id: View(
                ok=False,
                epoch=1,
                members={
                    one: Member(
                        id=one,
                        address="",
                        flags=frozenset(),
                        primary=None if one == owner else owner,
                        linked=True,
                        slots=parts,
                    )
                    for one, parts in owned.items()
                },
            ),
            lost.id: None,
        }

    async def instance_and_nodes(_: object) -> Any:
        return INSTANCE, [replica, lost]

    async def views_now(*_: object) -> Any:
        return views()

    async def latest(*_: object) -> Node:
        return replica

    async def take_over(one: Node, _: object) -> None:
        taken.append(one.id)

    monkeypatch.setattr(moves, "_ELECTION_SECONDS", 0)
    monkeypatch.setattr(moves, "latest_successor", latest)
    monkeypatch.setattr(moves.cluster_membership, "take_over", take_over)
    context: Any = SimpleNamespace(
        instance_and_nodes=instance_and_nodes, views=views_now, database=database, access=lambda _: None
    )
    step: Any = SimpleNamespace(task=None, raise_if_cancelled=lambda: None, measure=lambda **_: None)
    if message:
        with pytest.raises(ActionFailed, match=message) as failed:
            await moves.promote_survivor.body(context, step, NodeArguments(lost.id))
        assert failed.value.final
        assert taken == []
    else:
        await moves.promote_survivor.body(context, step, NodeArguments(lost.id))
        assert taken == [replica.id]


def seen(port: int, *flags: str) -> Watched:
    return Watched(name=INSTANCE.id, port=port, flags=frozenset(flags), epoch=1, sentinels=2, replicas=1)


LEAD_PORT, LOST_PORT = NODES[0].port, NODES[1].port


@pytest.mark.parametrize(
    ("answers", "state", "is_replaced"),
    [
        ((seen(LEAD_PORT), seen(LEAD_PORT)), "active", True),
        ((seen(LEAD_PORT), seen(LEAD_PORT, "s_down"), seen(LEAD_PORT)), "active", True),
        ((seen(LEAD_PORT),), "active", False),
        ((seen(LEAD_PORT), None, None), "active", False),
        ((seen(LEAD_PORT), seen(LEAD_PORT, "s_down"), seen(LEAD_PORT, "s_down")), "active", False),
        ((seen(LOST_PORT), seen(LOST_PORT)), "active", False),
        ((seen(LEAD_PORT),), "lost", True),
    ],
    ids=["two", "two of three", "one", "two watch nothing", "one reaches it", "another primary", "given up"],
)
async def test_a_silent_node_is_given_up_only_while_the_others_can_have_no_other_primary(
    database: SqlDatabase,
    monkeypatch: pytest.MonkeyPatch,
    answers: tuple[Watched | None, ...],
    state: HostState,
    *,
    is_replaced: bool,
) -> None:
    lead, lost = NODES[0], NODES[1]
    instance = msgspec.structs.replace(INSTANCE, spec_code="redis.ha.xu1.large.r2.1")
    slots = (SlotRange(0, 16383),)
    member = Member(id=lead.id, address="", flags=frozenset(), primary=None, linked=True, slots=slots)
    with database.write() as connection:
        hosts.change(connection, "h2", state=state)
        instances.change_node(connection, lost.id, role="primary")

    async def look(_: object) -> Any:
        return instance, [lead, lost], {lead.id: View(ok=True, epoch=0, members={lead.id: member}), lost.id: None}

    async def agree(*_: object) -> Agreement:
        return agreement(answers)

    async def record_another_primary(*_: object) -> None: ...

    monkeypatch.setattr(moves.sentinels, "agree", agree)
    monkeypatch.setattr(moves, "record_another_primary", record_another_primary)
    context: Any = SimpleNamespace(look=look, database=database)
    step: Any = SimpleNamespace(task=None, measure=lambda **_: None)
    removal = moves.replace_lost_node.body(context, step, MoveNode(lost.id, lead.id, (lost.id,)))
    if is_replaced:
        await removal
    else:
        with pytest.raises(ActionFailed, match="too few sentinels reach the primary") as failed:
            await removal
        assert not failed.value.final, "the network may become whole again"
    with database.read() as connection:
        assert (lost.id in stale_nodes.on_host(connection, "h2")) == is_replaced


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
        sentinels.remove_all(connection)
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
