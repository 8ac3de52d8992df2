"""Which hosts run new nodes."""

from collections import Counter

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cachewright.flavors import MEGABYTE
from cachewright.model.instances import Node
from cachewright.placement.capacity import Size
from cachewright.placement.hosts import HostRoom, NoHost, fits, place

GB = 1024 * MEGABYTE
ONE = Size(1, GB).host_memory


def nodes(shards: int, copies: int, instance_id: str = "i") -> list[Node]:
    return [
        Node(
            id=f"{instance_id}-{shard}-{copy}",
            instance_id=instance_id,
            shard=shard,
            role="replica" if copy else "primary",
            host="",
            port=0,
            bus_port=0,
            maxmemory=GB,
            should_run=True,
            created_at=0,
        )
        for shard in range(shards)
        for copy in range(copies)
    ]


def room(number: int, zone: str = "a", holds: int = 1000, allocated: int = 0) -> HostRoom:
    return HostRoom(
        name=f"h{number}",
        address=f"10.0.0.{number}",
        zone=zone,
        memory=Size(holds, holds * GB).host_memory,
        allocated=Size(allocated, allocated * GB),
        nodes=10_000,
    )


def hosts_by_shard(placed: list[Node]) -> dict[int, list[str]]:
    return {shard: [node.host_name for node in placed if node.shard == shard] for shard in {n.shard for n in placed}}


rooms = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 8)), min_size=1, max_size=6).map(
    lambda found: [room(number, zone, holds) for number, (zone, holds) in enumerate(found)]
)


@given(rooms, st.integers(1, 6), st.integers(1, 4))
def test_no_host_gets_more_than_it_holds(there: list[HostRoom], shards: int, copies: int) -> None:
    try:
        placed = place(nodes(shards, copies), there)
    except NoHost:
        free = sum(host.memory // ONE for host in there)
        assert free < shards * copies
        return
    assert fits(placed, there)
    assert [node.host for node in placed] == [f"10.0.0.{node.host_name[1:]}" for node in placed]


@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 6))
def test_copies_of_a_shard_share_a_host_only_if_there_are_too_few(count: int, shards: int, copies: int) -> None:
    there = [room(number) for number in range(count)]
    for names in hosts_by_shard(place(nodes(shards, copies), there)).values():
        assert max(Counter(names).values()) == -(-copies // count)


@given(rooms, st.integers(1, 5), st.integers(1, 3))
def test_a_host_is_shared_only_while_no_other_has_room(there: list[HostRoom], shards: int, copies: int) -> None:
    try:
        placed = place(nodes(shards, copies), there)
    except NoHost:
        assume(False)
    for number, node in enumerate(placed):
        before = placed[:number]
        taken = {other.host_name for other in before if other.shard == node.shard}
        if node.host_name in taken:
            held = Counter(other.host_name for other in before)
            others = [host for host in there if host.name not in taken]
            assert not any(host.fits(Size(held[host.name] + 1, (held[host.name] + 1) * GB)) for host in others)


@given(st.permutations(["a", "b", "c"]), st.integers(1, 3), st.integers(1, 4), st.integers(1, 5))
def test_zones_are_used_in_their_order_and_shared_only_by_more_copies_than_zones(
    order: list[str], asked: int, shards: int, copies: int
) -> None:
    zones = order[:asked]
    there = [room(number, zone) for number, zone in enumerate("aabbcc")]
    zone_of = {host.name: host.zone for host in there}
    for names in hosts_by_shard(place(nodes(shards, copies), there, zones=zones)).values():
        found = [zone_of[name] for name in names]
        assert set(found) <= set(zones)
        assert found[0] == zones[0], "the primary"
        assert max(Counter(found).values()) == -(-copies // asked)


def test_a_zone_without_room_is_a_refusal_that_names_it() -> None:
    there = [room(1, "a"), room(2, "b", holds=0)]
    with pytest.raises(NoHost, match=r"zone b has 1\.27 GB of memory"):
        place(nodes(1, 2), there, zones=["a", "b"])
    with pytest.raises(NoHost, match="no host in zone c takes new nodes"):
        place(nodes(1, 1), there, zones=["c"])


def test_new_copies_avoid_the_hosts_of_their_shard_and_primaries_are_spread() -> None:
    there = [room(1), room(2), room(3)]
    first = place(nodes(3, 1), there)
    assert {node.host_name for node in first} == {"h1", "h2", "h3"}
    replicas = [node for node in nodes(3, 2) if node.role == "replica"]
    placed = place(replicas, there, neighbours=first)
    for names in hosts_by_shard([*first, *placed]).values():
        assert len(set(names)) == 2


@given(st.booleans(), st.integers(1, 4), st.integers(1, 3))
def test_an_instance_is_on_loopback_or_on_other_addresses(has_nodes: bool, shards: int, copies: int) -> None:
    near = [msgspec.structs.replace(room(number), address=f"127.0.0.{number}") for number in (1, 2)]
    far = [room(number, allocated=5) for number in (3, 4)]
    neighbours = place(nodes(1, 1), far) if has_nodes else []
    placed = place(nodes(shards, copies), [*near, *far], neighbours=neighbours)
    found = {node.host.startswith("127.") for node in (*placed, *neighbours)}
    assert len(found) == 1
    with pytest.raises(NoHost, match="takes new nodes"):
        place(nodes(1, 1), near, neighbours=place(nodes(1, 1), far))
    behind_proxy = place(nodes(1, 1), near[:1])
    (beside,) = place(nodes(1, 2)[1:], far[:1], neighbours=behind_proxy, one_machine=True)
    assert beside.host_name == "h3"


def test_of_equal_hosts_the_emptiest_is_taken() -> None:
    there = [room(1, allocated=5), room(2, allocated=3), room(3, allocated=4)]
    (node,) = place(nodes(1, 1), there)
    assert node.host_name == "h2"
    assert not fits([node], [room(2, holds=3, allocated=3)])
    assert not fits([node], [room(1)])
