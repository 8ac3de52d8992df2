"""Which nodes move, and what replaces them: any cluster, any nodes that leave, any nodes that have failed."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachewright.config import Settings
from cachewright.flavors import parse
from cachewright.model.instances import Node
from cachewright.operations import move_nodes
from cachewright.operations.move_plan import MovePlan, decide, heir, surplus_additions
from cachewright.operations.requests import MoveCause
from cachewright.tasks.operation import ActionFailed
from cachewright.topologies.layout import has_salt, new_nodes, new_replicas
from cachewright.valkey.slots import SLOTS, SlotRange, even_split
from cachewright.valkey.topology import Member, View
from database_fixtures import an_instance

INSTANCE = "11111111-1111-4111-8111-111111111111"
RUN = "run"
SETTINGS = Settings(data_dir=Path("data"))


def cluster(shards: int, copies: int) -> list[Node]:
    flavor = parse(f"redis.cluster.xu1.large.r{copies}.s1.{shards}")
    return new_nodes(SETTINGS, INSTANCE, flavor)


def view_of(nodes: Sequence[Node], leads: Mapping[int, str], failed: frozenset[str] = frozenset()) -> View:
    """The cluster, in which the nodes in `leads` are primaries."""
    slots = even_split(sorted(leads.values()))
    return View(
        ok=True,
        epoch=1,
        members={
            node.id: Member(
                id=node.id,
                address=f"{node.host}:1@2",
                flags=frozenset({"fail"}) if node.id in failed else frozenset(),
                primary=None if node.id in leads.values() else leads[node.shard],
                linked=node.id not in failed,
                slots=(slots[node.id],) if node.id in slots else (),
            )
            for node in nodes
        },
    )


def planned(nodes: Sequence[Node], view: View, moved: set[str], cause: MoveCause, copies: int) -> MovePlan:
    failed = {member.id for member in view.members.values() if "fail" in member.flags}
    flavor = parse(f"redis.cluster.xu1.large.r{copies}.s1.{len({node.shard for node in nodes})}")
    return decide(
        nodes=nodes,
        views={node.id: None if node.id in failed else view for node in nodes},
        moved=moved,
        cause=cause,
        copies=copies,
        new=lambda numbers: new_replicas(SETTINGS, INSTANCE, flavor, numbers, salt=RUN),
    )


@given(st.data(), st.integers(1, 4), st.integers(1, 3))
def test_each_shard_keeps_its_copies_and_its_primary_leaves_last(data: st.DataObject, shards: int, copies: int) -> None:
    nodes = cluster(shards, copies)
    by_id = {node.id: node for node in nodes}
    leads = {
        shard: data.draw(st.sampled_from([node.id for node in nodes if node.shard == shard])) for shard in range(shards)
    }
    moved = data.draw(st.sets(st.sampled_from(sorted(by_id)), min_size=1))
    plan = planned(nodes, view_of(nodes, leads), moved, "drain", copies)
    assert {node.id for node in plan.leaving} == moved
    after = Counter(node.shard for node in (*plan.staying, *plan.added))
    assert after == Counter(dict.fromkeys(range(shards), copies))
    there = {node.id: node.shard for node in (*plan.staying, *plan.added)}
    assert all(there[plan.successors[node.id]] == node.shard for node in plan.leaving)
    assert all(has_salt(node, RUN) and node.role == "replica" for node in plan.added)
    for shard in range(shards):
        order = [node.id for node in plan.leaving if node.shard == shard]
        assert leads[shard] not in order[:-1]


def test_lost_nodes_are_replaced_where_a_copy_is_left() -> None:
    nodes = cluster(3, 2)
    first, replica = (node for node in nodes if node.shard == 0)
    second = next(node for node in nodes if node.shard == 1 and node.role == "primary")
    third = [node for node in nodes if node.shard == 2]
    # The replica of shard 0 has taken over, that of shard 1 has not, shard 2 has no copy left.
    leads = {0: replica.id, 1: second.id, 2: third[0].id}
    failed = frozenset({first.id, second.id, *(node.id for node in third)})
    view = view_of(nodes, leads, failed)
    silent = planned(nodes, view, set(failed), "silent_host", 2)
    assert [node.id for node in silent.leaving] == [first.id]
    assert silent.leaderless == []
    lost = planned(nodes, view, set(failed), "lost_host", 2)
    assert {node.id for node in lost.leaving} == {first.id, second.id}
    assert [node.id for node in lost.leaderless] == [second.id]
    assert {node.shard for node in lost.added} == {0, 1}
    assert set(lost.silent) == failed
    # Shards without slots, as a resize that failed may leave them, have nothing to replace.
    empty = msgspec.structs.replace(
        view,
        members={
            node_id: msgspec.structs.replace(member, slots=()) if node_id in {first.id, replica.id} else member
            for node_id, member in view.members.items()
        },
    )
    assert {node.shard for node in planned(nodes, empty, set(failed), "lost_host", 2).leaving} == {1}
    with pytest.raises(ActionFailed, match="have not agreed that it has failed"):
        planned(nodes, empty, set(failed), "silent_host", 2)
    with pytest.raises(ActionFailed, match="no copy of shard 2 is left"):
        planned(nodes, view, {node.id for node in third}, "lost_host", 2)
    with pytest.raises(ActionFailed, match="have not agreed that it has failed"):
        planned(nodes, view, {second.id}, "silent_host", 2)
    with pytest.raises(ActionFailed, match="answers, so its host is not lost"):
        planned(nodes, view, {replica.id}, "lost_host", 2)
    with pytest.raises(ActionFailed, match="does not answer"):
        planned(nodes, view, {first.id}, "drain", 2)


def test_no_replica_is_promoted_in_place_of_a_primary_on_a_host_that_was_not_given_up() -> None:
    nodes = cluster(3, 3)
    shards = [[node for node in nodes if node.shard == shard] for shard in range(3)]
    leads = {shard: of_shard[0].id for shard, of_shard in enumerate(shards)}
    # On the lost host: the primary of shard 0 and a replica of shard 1, whose primary is silent on another host.
    lost, silent = {shards[0][0].id, shards[1][2].id}, shards[1][0].id
    view = view_of(nodes, leads, frozenset({*lost, silent}))
    plan = planned(nodes, view, lost, "lost_host", 3)
    assert [node.id for node in plan.leaderless] == [shards[0][0].id]
    assert [node.id for node in plan.leaving] == [shards[0][0].id]
    assert set(plan.silent) == {*lost, silent}
    with pytest.raises(ActionFailed, match="on another host that does not answer") as failed:
        planned(nodes, view, {shards[1][2].id}, "lost_host", 3)
    assert not failed.value.final
    # If both hosts were given up, the replica that is left takes over.
    both = planned(nodes, view, {*lost, silent}, "lost_host", 3)
    assert [node.id for node in both.leaderless] == [shards[0][0].id, silent]


async def test_nothing_waits_for_nodes_that_do_not_answer_while_lost_ones_are_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nodes = cluster(3, 2)
    first, other, dead = ([node for node in nodes if node.shard == shard] for shard in range(3))
    leads = {0: first[0].id, 1: other[0].id, 2: dead[0].id}
    failed = frozenset({first[1].id, *(node.id for node in dead)})
    plan = planned(nodes, view_of(nodes, leads, failed), {first[1].id}, "silent_host", 2)

    async def state(*_: object) -> Any:
        return SimpleNamespace(used_memory=1)

    monkeypatch.setattr(move_nodes.key_deletion, "state", state)
    context: Any = SimpleNamespace(access=lambda _: None, migrations=SimpleNamespace(concurrency=1))
    steps = await move_nodes._steps(context, an_instance(), plan, is_lost=True)
    (joins,), (copies,) = steps["Cluster join."], steps["Replica synchronization."]
    assert set(joins.arguments["absent"]) == set(copies.arguments["absent"]) == failed


def test_what_a_replacement_has_goes_back_when_it_is_removed() -> None:
    nodes = cluster(1, 3)
    lead, replica, seed = nodes
    view = view_of(nodes, {0: lead.id})
    views = dict.fromkeys((node.id for node in nodes), view)
    flavor = parse("redis.cluster.xu1.large.r3.s1.1")
    (extra,) = new_replicas(SETTINGS, INSTANCE, flavor, {0: range(1, 2)}, salt=RUN)
    assert heir(extra, nodes, views, {seed.id}) == seed
    assert heir(extra, nodes, {**views, seed.id: None}, {seed.id}) == lead
    assert heir(extra, [replica, seed], {**views, seed.id: None}, {seed.id}) == replica


def test_a_repeated_move_uses_the_copies_that_an_earlier_one_has_left() -> None:
    nodes = cluster(1, 2)
    old, other = nodes
    flavor = parse("redis.cluster.xu1.large.r2.s1.1")
    (extra,) = new_replicas(SETTINGS, INSTANCE, flavor, {0: range(1, 2)}, salt="before")
    view = view_of([*nodes, extra], {0: old.id})
    plan = planned([*nodes, extra], view, {old.id}, "drain", 2)
    assert plan.added == []
    assert plan.successors[old.id] in {other.id, extra.id}
    members = view.members
    assert surplus_additions([*nodes, extra], members, 2, lambda node: node.id == extra.id) == [extra]
    assert surplus_additions([other, extra], members, 2, lambda node: node.id == extra.id) == []
    assert surplus_additions([*nodes, extra], members, 2, lambda node: node.id == old.id) == []


@pytest.mark.parametrize(
    ("cause", "knows", "leaves"),
    [("silent_host", False, True), ("silent_host", True, False), ("lost_host", True, True)],
    ids=["gone", "connected", "given up"],
)
def test_outside_of_clusters_the_primary_knows_which_replica_is_gone(
    cause: MoveCause, *, knows: bool, leaves: bool
) -> None:
    flavor = parse("redis.ha.xu1.large.r3.1")
    lead, replica, lost = nodes = new_nodes(SETTINGS, INSTANCE, flavor)
    whole = SlotRange(0, SLOTS - 1)
    members = {
        each.id: Member(
            id=each.id,
            address="",
            flags=frozenset(),
            primary=None if each is lead else lead.id,
            linked=True,
            slots=(whole,) if each is lead else (),
        )
        for each in nodes
    }
    known = {lead.id, replica.id, *([lost.id] if knows else [])}
    views: dict[str, View | None] = {
        lead.id: View(ok=True, epoch=0, members={name: members[name] for name in known}),
        replica.id: View(ok=True, epoch=0, members={name: members[name] for name in (lead.id, replica.id)}),
        lost.id: None,
    }

    def plan() -> MovePlan:
        return decide(
            nodes=nodes,
            views=views,
            moved={lost.id},
            cause=cause,
            copies=3,
            new=lambda numbers: new_replicas(SETTINGS, INSTANCE, flavor, numbers, salt=RUN),
            is_cluster=False,
        )

    if not leaves:
        with pytest.raises(ActionFailed, match="is not replaced"):
            plan()
        return
    made = plan()
    assert [node.id for node in made.leaving] == [lost.id]
    assert len(made.added) == 1
    assert made.silent == (lost.id,)
