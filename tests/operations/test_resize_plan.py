"""The invariants of a whole resize plan, for any cluster that can come about by scaling."""

from collections import Counter
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachewright.config import Settings
from cachewright.errors import ApiError
from cachewright.flavors import Flavor, parse
from cachewright.model.instances import Instance, Node
from cachewright.model.tasks import Step, SubStep
from cachewright.operations.actions import ACTIONS
from cachewright.operations.resize.cost_model import Host
from cachewright.operations.resize.named_nodes import resolve
from cachewright.operations.resize.plan import (
    NONE_NAMED,
    Observation,
    ResizePlan,
    decide,
    replicas_to_add,
    shards_to_add,
    unused_nodes,
)
from cachewright.operations.resize.replica_plan import NamedNodes
from cachewright.operations.resize.steps import steps
from cachewright.topologies.layout import new_nodes, new_replicas
from cachewright.valkey.node_load import NodeLoad
from cachewright.valkey.slots import SLOTS, SlotRange, even_split, merged, slots_of
from cachewright.valkey.topology import Member, View, primaries

SETTINGS = Settings(data_dir=Path("data"))
BYTES_PER_KEY = 100.0
HOST = Host(turns=2)
RUN = "run"


def flavor(shards: int, *, copies: int = 2, shard_gb: int = 1) -> Flavor:
    return parse(f"redis.cluster.xu1.large.r{copies}.s{shard_gb}.{shards * shard_gb}")


def observation(nodes: list[Node], view: View, keys_per_slot: int = 0, *, clients: bool = False) -> Observation:
    owned = view.owned()
    leads = primaries(nodes, view)

    def load(node: Node) -> NodeLoad:
        keys = dict.fromkeys(slots_of(owned.get(node.id, ())), keys_per_slot)
        return NodeLoad(int(sum(keys.values()) * BYTES_PER_KEY), BYTES_PER_KEY, keys, clients)

    return Observation(
        instance=instance(),
        nodes=nodes,
        views=dict.fromkeys((node.id for node in nodes), view),
        primaries=leads,
        owned=owned,
        loads={node.id: load(node) for node in leads.values()},
        host=HOST,
    )


def instance() -> Instance:
    return Instance(
        id="instance",
        project_id="project",
        name="cache",
        status="EXTENDING",
        engine_version="7.0",
        spec_code=flavor(3).spec_code,
        seed_port=6379,
        password=None,
        control_secret="secret",
        attributes={},
        user_id="user",
        user_name="user",
        created_at=0,
        updated_at=0,
    )


def seen(node: Node, primary: str | None, slots: tuple[SlotRange, ...]) -> Member:
    flags = frozenset({"slave" if primary else "master"})
    address = f"{node.host}:6379@16379"
    return Member(id=node.id, address=address, flags=flags, primary=primary, linked=True, slots=slots)


def cluster(size: Flavor, *, empty: int = 0, failed_over: frozenset[int] = frozenset()) -> tuple[list[Node], View]:
    """A balanced cluster, and `empty` shards without slots behind it, as a failed resize leaves them. The last replica
    leads the shards in `failed_over`."""
    shards = size.shards + empty
    nodes = new_nodes(SETTINGS, "instance", size, shards=range(shards))
    by_shard = {shard: [node for node in nodes if node.shard == shard] for shard in range(shards)}
    leads = {shard: copies[-1 if shard in failed_over else 0].id for shard, copies in by_shard.items()}
    split = even_split([leads[shard] for shard in range(size.shards)])
    members = {}
    for node in nodes:
        lead = leads[node.shard]
        slots = (split[lead],) if node.id == lead and lead in split else ()
        members[node.id] = seen(node, None if node.id == lead else lead, slots)
    return nodes, View(ok=True, epoch=1, members=members)


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """A cluster before a resize, and the size that it gets."""

    shards: int
    copies: int
    shard_gb: int
    empty: int
    failed_over: frozenset[int]
    keys_per_slot: int
    clients: bool
    to_shards: int
    to_shard_gb: int
    to_copies: int

    def made(self) -> tuple[Observation, Flavor]:
        size = flavor(self.shards, copies=self.copies, shard_gb=self.shard_gb)
        nodes, view = cluster(size, empty=self.empty, failed_over=self.failed_over)
        to = flavor(self.to_shards, copies=self.to_copies, shard_gb=self.to_shard_gb)
        return observation(nodes, view, self.keys_per_slot, clients=self.clients), to


CASES = st.builds(
    Case,
    shards=st.integers(1, 12),
    copies=st.integers(1, 3),
    shard_gb=st.sampled_from([1, 2, 4]),
    empty=st.integers(0, 2),
    failed_over=st.frozensets(st.integers(0, 11), max_size=3),
    keys_per_slot=st.integers(0, 50),
    clients=st.booleans(),
    to_shards=st.integers(1, 14),
    to_shard_gb=st.sampled_from([1, 2, 4]),
    to_copies=st.integers(1, 3),
)


def planned(before: Observation, to: Flavor, named: NamedNodes = NONE_NAMED, run: str = RUN) -> ResizePlan:
    replicas = new_replicas(SETTINGS, "instance", to, replicas_to_add(before, to, run, named), salt=run)
    added = new_nodes(SETTINGS, "instance", to, shards=shards_to_add(before, to), salt=run)
    return decide(before, to, [*replicas, *added], named)


def formatted(before: Observation, plan: ResizePlan) -> tuple[Step, ...]:
    return steps(RUN, plan, before)


def actions(made: tuple[Step, ...], action: str) -> list[SubStep]:
    return [sub for step in made for sub in step.sub_steps if sub.action == action]


@given(CASES)
def test_the_cluster_ends_with_the_wanted_shards_copies_and_memory(case: Case) -> None:
    before, to = case.made()
    plan = planned(before, to)
    removed = {node.id for node in [*plan.removed, *plan.surplus]}
    resized = {node.id for node in plan.resized}
    after = [node for node in [*plan.kept, *plan.added] if node.id not in removed]
    assert len({node.id for node in after}) == len(after) == to.shards * to.copies
    assert len({node.shard for node in after}) == to.shards
    assert set(Counter(node.shard for node in after).values()) == {to.copies}
    assert {node.shard for node in plan.replicas}.isdisjoint(node.shard for node in plan.surplus)
    for node in after:
        assert node.id in resized or node.maxmemory == to.shard_bytes
    assert not resized & removed
    assert not {node.id for node in plan.added} & {node.id for node in before.nodes}


@given(CASES)
def test_every_slot_ends_with_one_primary_that_stays_and_none_with_a_removed_one(
    case: Case,
) -> None:
    before, to = case.made()
    plan = planned(before, to)
    after = {node_id: set(slots_of(ranges)) for node_id, ranges in before.owned.items()}
    for move in plan.moves:
        slots = set(slots_of([move.range]))
        assert slots <= after[move.source]
        after[move.source] -= slots
        after.setdefault(move.target, set()).update(slots)
    removed = {node.id for node in plan.removed}
    sizes = [len(slots) for node_id, slots in after.items() if node_id not in removed and slots]
    assert len(sizes) == to.shards
    assert sum(sizes) == SLOTS
    assert max(sizes) - min(sizes) <= 1
    assert not any(after.get(node_id) for node_id in removed)


@given(CASES)
def test_nodes_are_added_or_removed_and_never_both(case: Case) -> None:
    plan = planned(*case.made())
    grown = [node for node in plan.added if node not in plan.replicas]
    assert not (grown and plan.removed)
    assert not (plan.replicas and plan.surplus)


@given(CASES)
def test_the_requirements_add_up_to_the_data_that_moves(case: Case) -> None:
    before, to = case.made()
    plan = planned(before, to)
    keys = sum(before.loads[move.source].keys[slot] for move in plan.moves for slot in slots_of([move.range]))
    assert plan.requirements.disk_bytes >= keys * BYTES_PER_KEY * to.copies
    assert plan.requirements.host_bytes >= keys * BYTES_PER_KEY * to.copies
    receiving = {move.target for move in plan.moves if any(before.loads[move.source].keys.values())}
    shrinking = {node.id for node in plan.resized if not plan.grows} & {node.id for node in before.primaries.values()}
    rooms = {room.node_id for room in plan.requirements.rooms}
    assert rooms >= receiving | shrinking
    assert rooms <= {node.id for node in [*plan.kept, *plan.added]} - {node.id for node in plan.removed}


@given(CASES)
def test_the_steps_start_and_release_and_resize_every_node_of_the_plan_once(
    case: Case,
) -> None:
    before, to = case.made()
    plan = planned(before, to)
    made = formatted(before, plan)

    def nodes(action: str) -> list[str]:
        return [sub.arguments["node_id"] for sub in actions(made, action)]

    assert nodes("start node") == [node.id for node in plan.added]
    assert nodes("add replica") == [node.id for node in sorted(plan.replicas, key=lambda node: node.shard)]
    assert nodes("remove replica") == [node.id for node in plan.surplus]
    assert nodes("release node") == [node.id for node in plan.removed]
    assert nodes("set memory") == [node.id for node in plan.resized]
    ranges = [SlotRange(sub.arguments["first"], sub.arguments["last"]) for sub in actions(made, "move slots")]
    assert ranges == [move.range for move in plan.moves]
    assert sum(map(len, merged(ranges))) == sum(map(len, ranges))
    joined = [node_id for sub in actions(made, "join cluster") for node_id in sub.arguments["node_ids"]]
    assert joined == [node.id for node in plan.added]


@given(CASES)
def test_memory_grows_before_slots_move_and_shrinks_after(case: Case) -> None:
    before, to = case.made()
    plan = planned(before, to)
    names = [step.name for step in formatted(before, plan)]
    assert names[0] == "Pre-check."
    assert names[-1] == "Post-check."
    if plan.resized and plan.moves:
        moving = names.index("Data migration.")
        memory = names.index("Memory increase." if plan.grows else "Memory decrease.")
        assert (memory < moving) is plan.grows


@given(CASES, st.integers(0, 20))
def test_a_plan_that_is_made_again_after_some_nodes_were_stored_is_the_same(case: Case, stored: int) -> None:
    before, to = case.made()
    first = planned(before, to)
    again = [msgspec.structs.replace(node, port=7000 + place) for place, node in enumerate(first.added[:stored])]
    later = msgspec.structs.replace(
        before,
        nodes=[*before.nodes, *again],
        views={**before.views, **dict.fromkeys((node.id for node in again), None)},
    )
    second = planned(later, to)
    assert formatted(later, second) == formatted(before, first)


@given(CASES)
def test_a_resize_that_was_carried_out_has_nothing_left_to_do(case: Case) -> None:
    before, to = case.made()
    plan = planned(before, to)
    removed = {node.id for node in [*plan.removed, *plan.surplus]}
    nodes = [
        msgspec.structs.replace(node, maxmemory=to.shard_bytes)
        for node in [*plan.kept, *plan.added]
        if node.id not in removed
    ]
    owned = {node_id: list(ranges) for node_id, ranges in before.owned.items()}
    for move in plan.moves:
        left = set(slots_of(owned[move.source])) - set(slots_of([move.range]))
        owned[move.source] = merged(SlotRange(slot, slot) for slot in left)
        owned[move.target] = merged([*owned.get(move.target, []), move.range])
    leads = {node.shard: node.id for node in nodes if owned.get(node.id)}
    members = {
        node.id: seen(node, None if leads[node.shard] == node.id else leads[node.shard], tuple(owned.get(node.id, ())))
        for node in nodes
    }
    done = planned(observation(nodes, View(ok=True, epoch=2, members=members)), to, run="next run")
    assert not [*done.added, *done.removed, *done.surplus, *done.resized, *done.moves]


def with_ports(before: Observation) -> Observation:
    """The same cluster with a port for each node. The first node has the port of the instance."""
    nodes = [msgspec.structs.replace(node, port=6379 + place) for place, node in enumerate(before.nodes)]
    by_id = {node.id: node for node in nodes}
    leads = {shard: by_id[node.id] for shard, node in before.primaries.items()}
    return msgspec.structs.replace(before, nodes=nodes, primaries=leads)


@given(CASES, st.data())
def test_named_nodes_stay_or_leave_and_the_one_with_the_address_stays(case: Case, data: st.DataObject) -> None:
    before, to = case.made()
    before = with_ports(before)
    seed = before.nodes[0]
    others = [node.id for node in before.nodes if node.id != seed.id]
    named = data.draw(st.lists(st.sampled_from(others or [seed.id]), unique=True))
    requests: tuple[tuple[list[str], list[str]], ...] = (
        ([], named),
        ([f"{node.host}:{node.port}" for node in before.nodes if node.id in named], []),
    )
    for reserved, removed in requests:
        try:
            found = resolve(before.instance, before.nodes, to, reserved=reserved, removed=removed)
        except ApiError:
            continue
        plan = planned(before, to, found)
        gone = {node.id for node in [*plan.removed, *plan.surplus]}
        assert seed.id not in gone
        assert gone.isdisjoint(found.stay)
        staying = {node.shard for node in before.nodes} - {node.shard for node in plan.removed}
        assert {node.id for node in before.nodes if node.id in found.leave and node.shard in staying} <= gone


def test_a_primary_leaves_only_if_it_is_named_or_the_node_with_the_address_must_stay() -> None:
    size = flavor(2, copies=3)
    nodes, view = cluster(size, failed_over=frozenset({0}))
    before = with_ports(observation(nodes, view))
    unnamed = planned(before, flavor(2, copies=2)).surplus
    assert [node.shard for node in unnamed] == [0, 1]
    assert not {node.id for node in unnamed} & {node.id for node in before.primaries.values()}
    second = before.primaries[1]
    named = planned(before, flavor(2, copies=2), NamedNodes(leave=frozenset({second.id}))).surplus
    assert second in named
    only_seed = planned(before, flavor(2, copies=1)).surplus
    assert before.primaries[0] in only_seed
    assert before.nodes[0] not in only_seed


def test_what_an_interrupted_resize_leaves_without_a_use() -> None:
    size = flavor(2, copies=1)
    nodes, view = cluster(size)
    replicas = new_replicas(SETTINGS, "instance", flavor(2), {0: range(1, 2), 1: range(1, 2)}, salt=RUN)
    shard = new_nodes(SETTINGS, "instance", flavor(2), shards=[2], salt=RUN)
    added = {node.id for node in [*replicas, *shard]}
    unused = unused_nodes([*nodes, *replicas, *shard], added, view.members)
    assert unused == [*replicas, *shard]
    promoted = {**view.members, replicas[0].id: seen(replicas[0], None, view.members[nodes[0].id].slots)}
    assert unused_nodes([*nodes, *replicas], added, promoted) == [replicas[1]]


def test_a_shard_that_would_be_too_full_is_named() -> None:
    nodes, view = cluster(flavor(4))
    keys_per_slot = 1500  # 0.6 GB a shard
    before = observation(nodes, view, keys_per_slot)
    fits, overflows = planned(before, flavor(4, shard_gb=2)), planned(before, flavor(3))
    assert all(room.holds <= room.may_hold for room in fits.requirements.rooms)
    assert all(room.holds > room.may_hold for room in overflows.requirements.rooms)


def test_a_full_shard_may_get_a_little_more_memory() -> None:
    size = flavor(3, shard_gb=4)
    nodes, view = cluster(size)
    keys_per_slot = int(0.98 * size.shard_bytes * size.shards / SLOTS / BYTES_PER_KEY)
    plan = planned(observation(nodes, view, keys_per_slot), flavor(3, shard_gb=5))
    assert plan.grows
    assert plan.requirements.rooms == ()


def test_slots_without_an_owner_are_an_error() -> None:
    nodes, view = cluster(flavor(3))
    before = observation(nodes, view)
    missing = msgspec.structs.replace(before, owned=dict(list(before.owned.items())[1:]))
    with pytest.raises(ValueError, match="not owned exactly once"):
        planned(missing, flavor(4))


@given(CASES)
def test_every_sub_step_stores_exactly_the_arguments_of_its_action(case: Case) -> None:
    before, to = case.made()
    for step in formatted(before, planned(before, to)):
        for sub_step in step.sub_steps:
            arguments = ACTIONS[sub_step.action].decode(sub_step.arguments)
            stored = msgspec.json.decode(msgspec.json.encode(sub_step.arguments))
            assert msgspec.json.decode(msgspec.json.encode(arguments)) == stored
