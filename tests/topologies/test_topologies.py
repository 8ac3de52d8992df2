"""What each topology says of its nodes, without a server."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachewright.config import Settings
from cachewright.flavors import SINGLE_CAPACITIES_MB, Flavor, cluster_code, ha_code, offered, parse, single_code
from cachewright.operations.requests import ResizeRequest
from cachewright.operations.resize.cost_model import Host
from cachewright.operations.resize.plan import FULLEST, Observation, decide, shards_to_add
from cachewright.operations.resize.request import validate
from cachewright.topologies import TOPOLOGIES, layout, topology_of
from cachewright.valkey.access import Access
from cachewright.valkey.client import NODE_GONE, NodeRefused
from cachewright.valkey.config import valkey_conf
from cachewright.valkey.node_load import NodeLoad
from cachewright.valkey.slots import SLOTS, SlotRange
from database_fixtures import an_instance
from standalone_node import OPEN, nowhere, started

SETTINGS = Settings(data_dir=Path("data"))
CLUSTER = parse(cluster_code("xu1", shards=3, shard_gb=1, copies=2))
SINGLE = parse(single_code("xu1", 1024))
HA = parse(ha_code("xu1", 1024, 3))
SIZES = st.sampled_from(SINGLE_CAPACITIES_MB)


def test_every_listed_flavor_has_a_topology() -> None:
    for flavor in offered("x86_64"):
        assert topology_of(flavor.spec_code).cache_mode == flavor.cache_mode


def test_a_cluster_starts_with_its_slots_shared_among_the_primaries() -> None:
    nodes = layout.new_nodes(SETTINGS, "i", CLUSTER)
    owned = []
    for node in nodes:
        text = topology_of(CLUSTER.spec_code).first_files(node, nodes, founding=True)["nodes.conf"]
        owned += [word for word in text.split() if word.count("-") == 1 and word[0].isdigit()]
    bounds = sorted(tuple(map(int, word.split("-"))) for word in owned)
    assert [first for first, _ in bounds] == [0, *(last + 1 for _, last in bounds[:-1])]
    assert bounds[-1][1] == SLOTS - 1
    assert len(bounds) == 3


@pytest.mark.parametrize("is_damaged", [False, True])
def test_a_node_that_joins_knows_the_cluster_unless_the_file_of_a_member_is_damaged(is_damaged: bool) -> None:
    old, new = layout.new_nodes(SETTINGS, "i", CLUSTER)[:2]
    known = f"{old.id} 127.0.0.1:1@2,,tls-port=0,shard-id={old.id} myself,master - 0 0 1 connected 0-16383\n"
    epochs = "vars currentEpoch 3 lastVoteEpoch 0\n"
    topology = topology_of(CLUSTER.spec_code)
    first = topology.first_files(new, [old, new], founding=False, known=known + ("" if is_damaged else epochs))
    assert (f"{old.id} 127.0.0.1:1@2" in first["nodes.conf"]) is not is_damaged
    assert f"{new.id} {new.host}" in first["nodes.conf"]


@pytest.mark.parametrize("host_name", ["local", "h2"])
def test_a_node_of_each_host_gets_replicas(host_name: str) -> None:
    (node,) = layout.new_nodes(SETTINGS, "i", SINGLE)
    request = ResizeRequest(spec_code=ha_code("xu1", SINGLE.capacity_mb, 2))
    instance = an_instance(spec_code=SINGLE.spec_code)
    placed = msgspec.structs.replace(node, host_name=host_name)
    assert validate(instance, [placed], request).params.spec_code == request.spec_code


def test_nodes_of_a_task_are_known_by_their_ids() -> None:
    added = layout.new_replicas(SETTINGS, "i", CLUSTER, {0: range(1, 6), 2: range(5, 6)}, salt="task")
    assert all(layout.has_salt(node, "task") and not layout.has_salt(node, "other") for node in added)
    assert not any(layout.has_salt(node, "task") for node in layout.new_nodes(SETTINGS, "i", CLUSTER))


def test_a_single_node_is_no_cluster_and_has_no_files_of_one() -> None:
    (node,) = layout.new_nodes(SETTINGS, "i", SINGLE)
    topology = topology_of(SINGLE.spec_code)
    access = Access("secret", None, Path())
    conf = valkey_conf(node, access, {}, topology.settings(node, access), [])
    assert "cluster-" not in conf
    assert "tls-" not in conf
    assert "databases 256\n" in conf
    assert f"maxmemory {1024**3}\n" in conf
    assert topology.first_files(node, [node], founding=False) == {}


def test_a_watched_node_starts_closed_and_refuses_writes() -> None:
    nodes = layout.new_nodes(SETTINGS, "i", HA)
    assert [node.role for node in nodes] == ["primary", "replica", "replica"]
    topology, access = topology_of(HA.spec_code), Access("secret", None, Path())
    conf = valkey_conf(nodes[1], access, {}, topology.settings(nodes[1], access), [])
    assert "cluster-" not in conf
    assert {"min-replicas-to-write 1000", "include listener.conf", "databases 256"} <= set(conf.splitlines())
    assert "user cachewright-sentinel on #" in conf
    assert topology.start_files() == {"listener.conf": "port 0\n"}
    (step,) = topology.dissolution(nodes).values()
    assert [sub.action for sub in step] == ["end failover"]


@pytest.mark.parametrize(("mode", "flavor"), [("cluster", CLUSTER), ("single", SINGLE), ("ha", HA)])
def test_each_formation_starts_every_node_once_and_ends_with_a_check_of_all(mode: str, flavor: Flavor) -> None:
    nodes = layout.new_nodes(SETTINGS, "i", flavor)
    first, *last = TOPOLOGIES[mode].formation(nodes).values()
    assert [sub.arguments["node_id"] for sub in first] == [node.id for node in nodes]
    assert {sub.action for sub in first} == {"start node"}
    actions = {
        "cluster": ["form cluster"],
        "single": ["check status"],
        "ha": ["form replication", "watch primary", "start proxy", "check status"],
    }
    assert [sub.action for step in last for sub in step] == actions[mode]


@pytest.mark.parametrize(
    ("now", "new", "served"),
    [
        (CLUSTER, parse(cluster_code("xu1", shards=5, shard_gb=2, copies=2)), True),
        (CLUSTER, parse(cluster_code("xu1", shards=3, shard_gb=1, copies=1)), True),
        (CLUSTER, parse(cluster_code("xu1", shards=4, shard_gb=1, copies=1)), False),
        (CLUSTER, parse(cluster_code("au1", shards=5, shard_gb=1, copies=2)), False),
        (CLUSTER, SINGLE, False),
        (SINGLE, CLUSTER, True),
        (SINGLE, parse(cluster_code("xu1", shards=1, shard_gb=1, copies=1)), True),
        (SINGLE, parse(cluster_code("au1", shards=3, shard_gb=1, copies=1)), False),
        (SINGLE, parse(single_code("xu1", 128)), True),
        (SINGLE, parse(single_code("au1", 128)), False),
        (SINGLE, parse("redis.ha.xu1.large.2"), False),
        (SINGLE, parse(ha_code("xu1", SINGLE.capacity_mb, 3)), True),
        (SINGLE, parse(ha_code("au1", SINGLE.capacity_mb, 3)), False),
        (HA, parse(ha_code("xu1", 128, 3)), True),
        (HA, parse(ha_code("xu1", 1024, 2)), True),
        (HA, parse(ha_code("xu1", 128, 2)), False),
        (HA, parse(single_code("xu1", 1024)), True),
        (HA, parse(cluster_code("xu1", shards=3, shard_gb=2, copies=1)), True),
        (HA, parse(cluster_code("au1", shards=3, shard_gb=2, copies=1)), False),
        (HA, parse(single_code("xu1", 2048)), False),
        (HA, parse(ha_code("au1", 128, 3)), False),
        (HA, parse("redis.ha.xu1.large.p3.1"), False),
    ],
    ids=lambda value: value if isinstance(value, bool) else value.spec_code,
)
def test_what_a_resize_can_make_of_an_instance(now: object, new: object, served: bool) -> None:
    assert TOPOLOGIES[now.cache_mode].can_become(now, new) is served  # type: ignore[attr-defined, arg-type]  # flavors


@given(SIZES, SIZES, st.integers(0, 64 * 1024**3))
def test_a_resize_of_a_single_instance_changes_its_memory_alone(now_mb: int, to_mb: int, used_memory: int) -> None:
    now, to = parse(single_code("xu1", now_mb)), parse(single_code("xu1", to_mb))
    (node,) = layout.new_nodes(SETTINGS, "i", now)
    observed = Observation(
        instance=an_instance(spec_code=now.spec_code),
        nodes=[node],
        views={},
        primaries={0: node},
        owned={node.id: (SlotRange(0, SLOTS - 1),)},
        loads={node.id: NodeLoad(used_memory, 100.0, {}, clients=True)},
        host=Host(turns=2),
    )
    assert list(shards_to_add(observed, to)) == []
    plan = decide(observed, to, [])
    assert (list(plan.moves), list(plan.removed), list(plan.added)) == ([], [], [])
    assert list(plan.resized) == ([node] if now_mb != to_mb else [])
    assert plan.grows is (to_mb > now_mb)
    needed = [(room.node_id, room.holds, room.may_hold) for room in plan.requirements.rooms]
    less_memory = (node.id, used_memory, int(to.capacity_mb * 1024**2 * FULLEST))
    assert needed == ([less_memory] if to_mb < now_mb else [])


async def test_the_view_of_a_single_node_is_a_cluster_of_one(tmp_path: Path) -> None:
    topology = TOPOLOGIES["single"]
    async with started(tmp_path) as node:
        view = await topology.view(node, [node], OPEN, 5)
        assert (view.ok, view.own_id, view.members.keys()) == (True, node.id, {node.id})
        assert view.owned() == {node.id: (SlotRange(0, SLOTS - 1),)}
        assert view.knows([node.id])
        with pytest.raises(NodeRefused):
            await TOPOLOGIES["cluster"].view(node, [node], OPEN, 5)
    async with started(tmp_path / "other", "replicaof 127.0.0.1 1", "replica-serve-stale-data yes") as node:
        assert not (await topology.view(node, [node], OPEN, 5)).ok
    with pytest.raises(NODE_GONE):
        await topology.view(nowhere(), [], OPEN, 1)
