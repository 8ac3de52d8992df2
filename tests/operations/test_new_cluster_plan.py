"""The plan of a change from a single or primary/standby instance to a cluster, and the requests that are refused."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachewright.config import Settings
from cachewright.errors import ApiError
from cachewright.flavors import Flavor, cluster_code, ha_code, parse, single_code
from cachewright.model.instances import Node
from cachewright.operations.requests import ResizeRequest
from cachewright.operations.resize.cost_model import Host
from cachewright.operations.resize.new_cluster import NewCluster, after_first, plan_first
from cachewright.operations.resize.plan import Observation, ResizePlan, decide, replicas_to_add, shards_to_add
from cachewright.operations.resize.replica_plan import NamedNodes
from cachewright.operations.resize.request import required_room, validate
from cachewright.operations.resize.steps import steps
from cachewright.placement import capacity
from cachewright.placement.capacity import Size
from cachewright.topologies.layout import new_nodes, new_replicas
from cachewright.valkey.node_load import NodeLoad
from cachewright.valkey.slots import SLOTS
from database_fixtures import an_instance

SETTINGS = Settings(data_dir=Path("data"))
SINGLE, HA = parse(single_code("xu1", 2048)), parse(ha_code("xu1", 2048, 3))
RUN = "run"


def present(flavor: Flavor, used_memory: int = 1000) -> Observation:
    nodes = new_nodes(SETTINGS, "i", flavor)
    load = NodeLoad(used_memory=used_memory, bytes_per_key=10.0, keys={}, clients=True)
    return Observation(
        instance=an_instance(spec_code=flavor.spec_code),
        nodes=nodes,
        views={},
        primaries={0: nodes[0]},
        owned={},
        loads={nodes[0].id: load},
        host=Host(turns=2),
    )


def planned(now: Flavor, to: Flavor, keys: int) -> tuple[NewCluster, Observation, ResizePlan]:
    change = plan_first(SETTINGS, present(now), to, RUN, None)
    observed = after_first(present(now), change, keys)
    added = [
        *new_replicas(SETTINGS, "i", to, replicas_to_add(observed, to, RUN, NamedNodes()), salt=RUN),
        *new_nodes(SETTINGS, "i", to, shards=shards_to_add(observed, to), salt=RUN),
    ]
    return change, observed, decide(observed, to, added)


@given(
    st.sampled_from([SINGLE, HA]), st.integers(1, 6), st.integers(1, 3), st.sampled_from([1, 4]), st.integers(0, 10**6)
)
def test_a_plan_leads_to_the_size_that_was_requested(
    now: Flavor, shards: int, copies: int, shard_gb: int, keys: int
) -> None:
    to = parse(cluster_code("xu1", shards=shards, shard_gb=shard_gb, copies=copies))
    change, observed, plan = planned(now, to, keys)
    large = change.first.maxmemory
    assert large == max(now.shard_bytes, to.shard_bytes)
    assert [node.maxmemory for node in plan.replicas] == [large] * (copies - 1), "one that takes over would evict keys"
    shrinking = [change.first.id, *(node.id for node in plan.replicas)] if large > to.shard_bytes else []
    assert ([node.id for node in plan.resized], plan.grows) == (shrinking, False)
    assert (len(plan.added) + 1, plan.removed, plan.surplus) == (shards * copies, [], [])
    assert len({change.first.id, *(node.id for node in plan.added)}) == shards * copies
    assert sum(observed.loads[change.first.id].keys.values()) == keys
    assert len(observed.loads[change.first.id].keys) == SLOTS
    found = {step.name: [sub.action for sub in step.sub_steps] for step in steps(RUN, plan, observed, {}, change)}
    assert found["Pre-check."] == ["check resources", "check status", "check databases"]
    assert found["Type change."] == ["copy to cluster", "become cluster", "remove former nodes"]
    assert list(found)[:2] == ["Pre-check.", "Type change."]
    assert len(found.get("Resource request.", [])) == shards * copies - 1
    assert ("Data migration." in found) is (shards > 1)


def test_present_nodes_and_those_of_the_cluster_need_room_together() -> None:
    request = ResizeRequest(spec_code="redis.cluster.xu1.large.r2.s1.3")
    nodes = new_nodes(SETTINGS, "i", HA)
    accepted = validate(an_instance(spec_code=HA.spec_code), nodes, request)
    assert accepted.details["new_cache_mode"] == "cluster"
    room = required_room(nodes, accepted.params, 1000)
    added = Size(2, 4 * capacity.GIGABYTE) + Size(4, 4 * capacity.GIGABYTE)
    assert (room.held, room.size) == (Size(3, 6 * capacity.GIGABYTE), Size(3, 6 * capacity.GIGABYTE) + added)
    assert room.disk > 1000


@pytest.mark.parametrize(
    ("changed", "named", "reason"),
    [
        ({"server_certificate": "PEM"}, {}, "switch TLS off first"),
        (
            {"attributes": {"enable_whitelist": True, "whitelist": [{"ip_list": ["10.0.0.1"]}]}},
            {},
            "switch the whitelist off first",
        ),
        ({}, {"reserved_ip": ("127.0.0.1",)}, "no node stays"),
        ({}, {"node_list": ("x",)}, "no node stays"),
    ],
)
def test_what_a_cluster_would_not_keep_is_refused_by_name(
    changed: dict[str, object], named: dict[str, tuple[str, ...]], reason: str
) -> None:
    request = ResizeRequest(spec_code="redis.cluster.xu1.large.r1.s1.3", **named)  # type: ignore[arg-type]  # by name
    with pytest.raises(ApiError, match=reason) as refused:
        validate(an_instance(spec_code=HA.spec_code, **changed), new_nodes(SETTINGS, "i", HA), request)
    assert refused.value.code == "DCS.4102"


def test_nodes_of_other_hosts_are_refused_by_name() -> None:
    elsewhere: list[Node] = [
        msgspec.structs.replace(node, host_name="other") for node in new_nodes(SETTINGS, "i", SINGLE)
    ]
    request = ResizeRequest(spec_code="redis.cluster.xu1.large.r1.s1.3")
    with pytest.raises(ApiError, match="runs on host other"):
        validate(an_instance(spec_code=SINGLE.spec_code), elsewhere, request)
