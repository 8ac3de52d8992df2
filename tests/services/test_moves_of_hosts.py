"""What is recorded when nodes move between hosts, on both databases."""

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from cachewright.model.hosts import EMBEDDED, HostState
from cachewright.model.instances import Node
from cachewright.operations import move_nodes
from cachewright.operations.actions import moves
from cachewright.operations.actions.action import NodeArguments
from cachewright.operations.actions.moves import MoveNode, succeed
from cachewright.operations.move_nodes import MOVE_NODES
from cachewright.store import hosts, instances, stale_nodes
from cachewright.store.transactions import SqlDatabase
from cachewright.tasks.operation import ActionFailed
from cachewright.topologies import layout
from cachewright.valkey.sentinel import Agreement, Watched, agreement
from cachewright.valkey.slots import SlotRange
from cachewright.valkey.topology import Member, View
from database_fixtures import a_task
from hosts_with_nodes import INSTANCE, NODES, node


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
