"""A cluster with replicas: a scale continues after a replica takes over."""

from typing import Any

import psutil
import pytest
from valkey.cluster import ValkeyCluster

from caches import cache, load, operator_of, present, serves, take_over
from cachewright.valkey.slots import SLOTS
from sdk_calls import created, ended, progress, resize_until, show
from serving import Server, freeze, thaw, until

KEYS = 100_000


@pytest.fixture
def loaded(own_server: Server) -> tuple[Server, Any, str]:
    client = own_server.client()
    instance_id = created(client, 2, copies=2)
    caches = cache(client, instance_id)
    load(caches, KEYS, 400)
    for node in caches.get_nodes():
        if node.server_type == "primary":
            assert caches.wait(1, 10_000, target_nodes=node) == 1, "a replica does not follow"
    return own_server, client, instance_id


def source_of_move(client: Any, instance_id: str, task_id: str) -> str | None:
    """Node id of a master whose slots are on their way, or just about to be."""
    for step in progress(client, instance_id, task_id).step_details:
        for sub_step in step.sub_step_details or []:
            if sub_step.sub_step_status == "EXECUTING" and "full_migration:" in sub_step.detail:
                return str(sub_step.detail.partition("node_id:")[2].partition(",")[0])
    return None


def replica_of(caches: ValkeyCluster, node_id: str) -> tuple[str, int]:
    for address, node in caches.cluster_nodes().items():
        if node["master_id"] == node_id:
            host, _, port = address.rpartition(":")
            return host, int(port)
    raise AssertionError(f"{node_id} has no replica")


def process_of(server: Server, node_id: str) -> psutil.Process:
    return next(node for node in server.nodes() if any(node_id in word for word in node.info["cmdline"]))


@pytest.mark.parametrize("how", ["asked", "frozen"])
def test_a_replica_of_the_source_that_takes_over_goes_on_with_the_scale(
    loaded: tuple[Server, Any, str], how: str
) -> None:
    server, client, instance_id = loaded
    task_id, source = resize_until(
        client, instance_id, 3, lambda task_id: source_of_move(client, instance_id, task_id), copies=2
    )
    caches = cache(client, instance_id)
    host, port = replica_of(caches, source)
    with operator_of(server, host, port) as replica:
        if how == "asked":
            take_over(replica)
        else:
            struck = process_of(server, source)
            freeze(struck)
            try:
                until(lambda: replica.role()[0] == b"master", "the replica does not take over")
            finally:
                thaw(struck)
    assert ended(client, instance_id, task_id, seconds=150).status == "SUCCESS"
    require_whole(server, client, instance_id)


def require_whole(server: Server, client: Any, instance_id: str) -> None:
    until(lambda: serves(client, instance_id), "the cluster is not whole")
    until(lambda: show(client, instance_id).status == "RUNNING", "the instance is not RUNNING")
    until(lambda: each_shard_has_a_replica(client, instance_id), "a shard has no replica")
    caches = cache(client, instance_id)
    assert present(caches, KEYS) == KEYS
    nodes = list(caches.cluster_nodes().values())
    owners = [node for node in nodes if node["slots"]]
    assert sum(int(part[-1]) - int(part[0]) + 1 for node in owners for part in node["slots"]) == SLOTS
    assert len(owners) == 3
    assert len(nodes) == 6
    assert len(server.nodes()) == 6, f"a node has ended:\n{server.log()[-3000:]}"


def each_shard_has_a_replica(client: Any, instance_id: str) -> bool:
    """A primary that has been replaced follows the new one a moment later."""
    nodes = cache(client, instance_id).cluster_nodes().values()
    followed = {node["master_id"] for node in nodes if node["master_id"] != "-"}
    return followed == {node["node_id"] for node in nodes if node["slots"]}
