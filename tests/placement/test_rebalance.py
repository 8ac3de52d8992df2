"""Which nodes move so that all hosts are used alike."""

from collections import Counter

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from cachewright.flavors import MEGABYTE
from cachewright.model.instances import Node
from cachewright.placement.capacity import Size
from cachewright.placement.rebalance import HostUse, PlannedMove, rebalance

GB = 1024 * MEGABYTE
ONE = Size(1, GB).host_memory


def node(instance_id: str, shard: int, copy: int, host_name: str) -> Node:
    return Node(
        id=f"{instance_id}-{shard}-{copy}",
        instance_id=instance_id,
        shard=shard,
        role="replica" if copy else "primary",
        host="10.0.0.1",
        port=0,
        bus_port=0,
        maxmemory=GB,
        should_run=True,
        created_at=0,
        host_name=host_name,
    )


def uses(nodes: list[Node], zones: dict[str, str], memory: int = 100) -> list[HostUse]:
    held = Counter(node.host_name for node in nodes)
    return [
        HostUse(name=name, address="10.0.0.1", zone=zone, memory=memory * ONE, allocated=held[name] * ONE)
        for name, zone in zones.items()
    ]


def counts(nodes: list[Node], moves: list[PlannedMove], zones: dict[str, str]) -> Counter[str]:
    places = {node.id: node.host_name for node in nodes} | {move.node.id: move.to for move in moves}
    return Counter(dict.fromkeys(zones, 0)) + Counter(places.values())


def test_a_new_host_gets_its_share() -> None:
    nodes = [node("i", shard, 0, "h1" if shard % 2 else "h2") for shard in range(12)]
    zones = {"h1": "a", "h2": "a", "h3": "a"}
    moves = rebalance(uses(nodes, zones), nodes)
    assert {move.to for move in moves} == {"h3"}
    assert counts(nodes, moves, zones) == {"h1": 4, "h2": 4, "h3": 4}
    assert rebalance(uses(nodes, zones | {"h3": "b"}), nodes) == []


def test_nodes_with_tls_move_to_hosts_with_tls_alone() -> None:
    plain = [node("i", shard, 0, "h1") for shard in range(6)]
    secured = [msgspec.structs.replace(node("j", shard, 0, "h1"), tls_port=1) for shard in range(6)]
    there = uses(plain + secured, {"h1": "a", "h2": "a"})
    assert {move.node.instance_id for move in rebalance(there, plain + secured)} == {"i"}
    there = [msgspec.structs.replace(use, tls=True) for use in there]
    assert {move.node.instance_id for move in rebalance(there, secured)} == {"j"}


def test_stopped_nodes_stay_and_their_copies_keep_away() -> None:
    nodes = [node("i", shard, 0, "h1") for shard in range(4)]
    stopped = [msgspec.structs.replace(one, should_run=one.shard > 1) for one in nodes]
    zones = {"h1": "a", "h2": "a"}
    assert {move.node.shard for move in rebalance(uses(stopped, zones), stopped)} == {2, 3}
    beside = [msgspec.structs.replace(node("i", shard, 1, "h2"), should_run=False) for shard in (2, 3)]
    assert rebalance(uses(stopped + beside, zones), stopped + beside) == []


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), st.sampled_from(["h1", "h2", "h3"])), max_size=12),
    st.dictionaries(st.sampled_from(["h1", "h2", "h3"]), st.sampled_from("ab"), min_size=1),
)
def test_copies_stay_apart_and_zones_stay_the_same(there: list[tuple[int, int, str]], zones: dict[str, str]) -> None:
    nodes = [
        node(f"i{instance}", shard, number, host_name) for number, (instance, shard, host_name) in enumerate(there)
    ]
    before = uses(nodes, zones)
    moves = rebalance(before, nodes)
    assert len({move.node.id for move in moves}) == len(moves)
    places = {one.id: one.host_name for one in nodes}
    for move in moves:
        others = [one for one in nodes if one.shard == move.node.shard and one.instance_id == move.node.instance_id]
        assert move.to not in {places[one.id] for one in others}
        assert zones[move.to] == zones[move.node.host_name]
        places[move.node.id] = move.to
    held = Counter(node.host_name for node in nodes)
    after = Counter(places.values())
    assert max((after[name] for name in zones), default=0) <= max((held[name] for name in zones), default=0)
