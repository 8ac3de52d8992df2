"""Sizes of instances and of their changes against the limits of host and quota."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachewright.flavors import MEGABYTE, Flavor, parse
from cachewright.model.instances import Node
from cachewright.operations import admission
from cachewright.operations.resize.request import ResizeParams, required_room
from cachewright.placement import capacity
from cachewright.placement.capacity import Allocated, Limits, Request, Size
from sdk_calls import spec


def node(shard: int, gigabytes: int) -> Node:
    return Node(
        id=str(shard),
        instance_id="i",
        shard=shard,
        role="primary",
        host="h",
        port=1,
        bus_port=2,
        maxmemory=gigabytes * 1024 * MEGABYTE,
        should_run=True,
        created_at=1,
    )


@pytest.mark.parametrize(
    ("before", "after", "nodes", "gigabytes"),
    [
        ((3, 1), (5, 1), 5, 5),
        ((5, 1), (3, 1), 5, 5),
        ((3, 1), (3, 4), 3, 12),
        ((3, 4), (3, 1), 3, 12),
        ((3, 2), (5, 1), 5, 8),
        ((5, 1), (3, 2), 5, 8),
    ],
)
def test_a_resize_needs_old_and_new_nodes(
    before: tuple[int, int], after: tuple[int, int], nodes: int, gigabytes: int
) -> None:
    present = [node(shard, before[1]) for shard in range(before[0])]
    size = capacity.size_during_resize(present, parse(spec(after[0], shard_gb=after[1])))
    assert size == Size(nodes, gigabytes * 1024 * MEGABYTE)


def test_an_interrupted_resize_counts_the_nodes_that_it_has_left() -> None:
    present = [node(shard, 1) for shard in (0, 2, 5)]
    assert capacity.size_during_resize(present, parse(spec(4))) == Size(4, 4096 * MEGABYTE)
    assert capacity.size_during_resize(present, parse(spec(2))) == Size(3, 3072 * MEGABYTE)


shards, gigabytes, copies = st.integers(1, 12), st.integers(1, 8), st.integers(1, 3)


def limits(**changed: Any) -> Limits:
    plain = {"host_memory": 2**60, "overcommit": 1.0, "disk_free": 2**60, "ports": 10**6}
    quotas = {"quota_instances": 0, "quota_nodes": 0, "quota_memory": 0}
    return Limits(**plain | quotas | changed)


def nodes_of(flavor: Flavor) -> list[Node]:
    return [node(shard, flavor.shard_mb // 1024) for shard in range(flavor.shards) for _ in range(flavor.copies)]


@given(shards, gigabytes, shards, gigabytes, copies)
def test_a_change_that_adds_nothing_is_never_short_of_memory(
    now: int, now_gb: int, then: int, then_gb: int, copies: int
) -> None:
    old, new = parse(spec(now, copies=copies, shard_gb=now_gb)), parse(spec(then, copies=copies, shard_gb=then_gb))
    request = required_room(nodes_of(old), ResizeParams(spec_code=new.spec_code))
    tight = limits(host_memory=1, ports=1, quota_nodes=1, quota_memory=1)
    found = list(capacity.shortages(request, Allocated(), Allocated(9, Size(9, 2**40)), tight))
    assert bool(found) == (then > now or then_gb > now_gb)


@given(shards, gigabytes, shards, gigabytes, copies)
def test_a_change_needs_at_least_what_is_there_before_and_after_it(
    now: int, now_gb: int, then: int, then_gb: int, copies: int
) -> None:
    old, new = parse(spec(now, copies=copies, shard_gb=now_gb)), parse(spec(then, copies=copies, shard_gb=then_gb))
    during = capacity.size_during_resize(nodes_of(old), new)
    for size in (capacity.size_of(old), capacity.size_of(new)):
        assert (during.nodes, during.maxmemory) >= (size.nodes, size.maxmemory)
        assert during.maxmemory >= size.maxmemory
    back = capacity.size_during_resize(nodes_of(new), old)
    assert during == back


def test_each_limit_has_its_code_and_figures() -> None:
    request = Request(instances=1, size=Size(3, 3 * 2**30), disk=2**30)
    project, host = Allocated(1, Size(2, 2**31)), Allocated(4, Size(9, 2**33))
    tight = limits(
        host_memory=2**33, disk_free=1, ports=20, quota_instances=1, quota_nodes=4, quota_memory=2**32, overcommit=1.5
    )
    found = [(shortage.code, shortage.reason) for shortage in capacity.shortages(request, project, host, tight)]
    assert found == [
        ("DCS.4035", "1 asked for, 1 of the project's 1 exist"),
        ("DCS.4039", "3 nodes needed, other instances have 2 of the project's 4"),
        ("DCS.4039", "6 ports needed, other instances have 18 of 20"),
        ("DCS.4036", "3.00 GB needed, other instances have 2.00 GB of the project's quota of 4.00 GB"),
        (
            "DCS.4036",
            "3.82 GB needed with overhead, 10.21 GB are allocated to other instances, the host has 8.00 GB, "
            "which may be allocated 1.5 times",
        ),
        ("DCS.9007", "1.00 GB of disk needed, 0.00 GB are free"),
    ]
    assert list(capacity.shortages(request, project, host, limits())) == []


def test_data_that_moves_is_what_its_shards_lose() -> None:
    assert capacity.moved_bytes(1200, 3, 4) == 300
    assert capacity.moved_bytes(1200, 4, 3) == 300
    assert capacity.moved_bytes(1200, 3, 3) == 0


def test_nodes_grow_only_where_their_host_has_room() -> None:
    def two_hosts(gigabytes: int) -> Limits:
        of_host = capacity.HostLimits(address="h", memory=Size(2, gigabytes * 2**30).host_memory, disk_free=1, ports=99)
        return limits(hosts={"a": of_host, "b": of_host})

    nodes = [msgspec.structs.replace(node(shard, 1), host_name=name) for shard, name in enumerate("ab")]
    request = required_room(nodes, ResizeParams(spec_code=spec(2, shard_gb=4)))
    others = {"b": Size(1, 2**30)}
    assert admission._growth_shortages(two_hosts(8), others, request, nodes) == []
    (found,) = admission._growth_shortages(two_hosts(4), others, request, nodes)
    assert (found.code, found.reason.split(" has ")[0]) == ("DCS.4036", "host b")
