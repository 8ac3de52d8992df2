"""What is read from the nodes themselves: shards, nodes, topology, configuration, statistics, on a real server."""

from collections.abc import Iterator
from typing import Any

import pytest
from contract import faults
from huaweicloudsdkdcs.v2 import (
    BatchShowNodesInformationRequest,
    DeleteSingleInstanceRequest,
    ListConfigurationsRequest,
    ListGroupReplicationInfoRequest,
    ListStatisticsOfRunningInstancesRequest,
    ShowInstanceTopologyRequest,
    ShowNodesInformationRequest,
    ShowReplicationStatesRequest,
    ValidateDeletableReplicaRequest,
)
from terraform import Terraform
from valkey import Valkey

from caches import cache, operator_of
from cachewright.valkey.parameters import PARAMETERS, node_settings
from sdk_calls import PASSWORD, created, show
from serving import Server, until

KEYS = 300


@pytest.fixture(scope="module")
def instance_id(client: Any) -> Iterator[str]:
    """Two shards of a master and a replica each, with some keys."""
    made = created(client, 2, copies=2, name="looked-at")
    caches = cache(client, made)
    for number in range(KEYS):
        caches.set(f"key:{number}", "value")
    caches.get("key:0")
    caches.close()
    yield made
    client.delete_single_instance(DeleteSingleInstanceRequest(instance_id=made))


@pytest.fixture(scope="module")
def raw(server: Server) -> Terraform:
    return Terraform(server.credentials)


@pytest.fixture(scope="module")
def real(client: Any, instance_id: str) -> dict[str, dict[str, Any]]:
    """The cluster's nodes by id, as one of them sees them."""
    shown = show(client, instance_id)
    with Valkey(host=shown.ip, port=shown.port, password=PASSWORD, decode_responses=True) as node:
        return {seen["node_id"]: {"address": address, **seen} for address, seen in node.cluster("NODES").items()}


def test_every_answer_has_the_clients_types(raw: Terraform, instance_id: str) -> None:
    for path, kind in (
        (f"instance/{instance_id}/groups", "ListGroupReplicationInfoResponse"),
        (f"instances/{instance_id}/logical-nodes", "ShowNodesInformationResponse"),
        (f"instances/{instance_id}/nodes", "ShowInstanceTopologyResponse"),
        (f"instances/{instance_id}/deletable-replication", "ValidateDeletableReplicaResponse"),
        (f"instances/{instance_id}/configs", "ListConfigurationsResponse"),
        ("instances-logical-nodes", "BatchShowNodesInformationResponse"),
        ("instances/statistic", "ListStatisticsOfRunningInstancesResponse"),
    ):
        assert faults(raw.get(path), kind) == [], path


def test_shards_are_the_clusters(client: Any, instance_id: str, real: dict[str, dict[str, Any]]) -> None:
    answer = client.list_group_replication_info(ListGroupReplicationInfoRequest(instance_id=instance_id))
    assert answer.group_count == len(answer.group_list) == 2
    for group in answer.group_list:
        master, replica = sorted(group.replication_list, key=lambda node: node.replication_role)
        assert (master.replication_role, replica.replication_role) == ("master", "slave")
        assert {master.status, replica.status} == {"Active"}
        assert real[replica.node_id]["master_id"] == master.node_id
        assert real[master.node_id]["slots"]
        states = client.show_replication_states(
            ShowReplicationStatesRequest(instance_id=instance_id, group_id=group.group_id)
        )
        assert [node.node_id for node in states.body] == [node.node_id for node in group.replication_list]


def test_an_unknown_shard_is_refused(raw: Terraform, instance_id: str) -> None:
    status, answer = raw.call("GET", f"instance/{instance_id}/groups/{instance_id}/group-nodes-state")
    assert (status, answer["error_code"]) == (400, "DCS.4062")
    assert "group_id" in answer["error_msg"]


def test_nodes_are_the_clusters(client: Any, instance_id: str, real: dict[str, dict[str, Any]]) -> None:
    answer = client.show_nodes_information(ShowNodesInformationRequest(instance_id=instance_id))
    assert answer.total == 4
    addresses = {node.node_id: f"{node.node_ip}:{node.node_port}" for node in answer.nodes}
    assert addresses == {node_id: seen["address"] for node_id, seen in real.items()}
    listed = client.batch_show_nodes_information(BatchShowNodesInformationRequest(limit=1000))
    (mine,) = [instance for instance in listed.instances if instance.instance_id == instance_id]
    assert mine.node_count == 4
    assert {node.node_id for node in mine.nodes} == set(real)
    beyond = client.batch_show_nodes_information(BatchShowNodesInformationRequest(offset=10_000))
    assert beyond.instances == []


def test_the_topology_has_the_nodes_counters(client: Any, instance_id: str) -> None:
    answer = client.show_instance_topology(ShowInstanceTopologyRequest(instance_id=instance_id))
    masters = [node for node in answer.redis_server if node.node_type == "master"]
    replicas = [node for node in answer.redis_server if node.node_type == "slave"]
    assert sum(int(node.dbs.keys) for node in masters) == KEYS
    assert {int(node.max_memory) for node in masters} == {1024}
    assert {node.relation_port for node in replicas} == {node.port for node in masters}
    assert {node.relation_ip for node in masters} == {None}


def test_statistics_are_the_nodes_counters(client: Any, instance_id: str) -> None:
    answer = client.list_statistics_of_running_instances(ListStatisticsOfRunningInstancesRequest())
    (mine,) = [row for row in answer.statistics if row.instance_id == instance_id]
    assert (mine.keys, mine.cmd_set_count, mine.max_memory) == (KEYS, KEYS, 2048)
    assert mine.cmd_get_count >= 1
    assert 0 < mine.used_memory < 100
    assert float(mine.used_cpu) >= 0
    assert float(mine.input_kbps) >= 0


def test_the_configuration_is_the_nodes(server: Server, client: Any, instance_id: str) -> None:
    answer = client.list_configurations(ListConfigurationsRequest(instance_id=instance_id))
    shown = show(client, instance_id)
    assert (answer.status, answer.config_status, answer.instance_id) == ("RUNNING", "SUCCESS", instance_id)
    assert answer.config_time == shown.launched_at
    assert [item.param_id for item in answer.redis_config] == [parameter.id for parameter in PARAMETERS]
    with operator_of(server, shown.ip, shown.port, decode_responses=True) as node:
        for item in answer.redis_config:
            assert node.config_get(item.param_name) == node_settings({item.param_name: item.param_value})
    started_with = {item.param_name: item.default_value for item in answer.redis_config}
    assert {item.param_name: item.param_value for item in answer.redis_config} == started_with


def test_a_node_that_does_not_answer_is_inactive(own_server: Server) -> None:
    """Its role is what it was made for; what only it knows is null; where none answers, there is no configuration."""
    client = own_server.client()
    made = created(client, 1)
    frozen = own_server.nodes()
    caller = Terraform(own_server.credentials)
    for process in frozen:
        process.suspend()
    try:
        (group,) = caller.get(f"instance/{made}/groups")["group_list"]
        assert [(node["status"], node["replication_role"]) for node in group["replication_list"]] == [
            ("Inactive", "master")
        ]
        (node,) = caller.get(f"instances/{made}/nodes")["redis_server"]
        assert (node["status"], node["used_memory"], node["dbs"]) == ("Inactive", None, None)
        status, answer = caller.call("GET", f"instances/{made}/configs")
        assert (status, answer["error_code"]) == (400, "DCS.4049")
        (row,) = caller.get("instances/statistic")["statistics"]
        assert (row["keys"], row["used_memory"], row["used_cpu"], row["max_memory"]) == (None, None, None, 1024)
    finally:
        for process in frozen:
            process.resume()
    until(lambda: caller.call("GET", f"instances/{made}/configs")[0] == 200, "the node does not answer again")


def test_replicas_that_can_be_removed_are_listed(
    client: Any, instance_id: str, real: dict[str, dict[str, Any]]
) -> None:
    found = client.validate_deletable_replica(ValidateDeletableReplicaRequest(instance_id=instance_id))
    assert (found.check_result, found.available_zone) == (True, "local")
    replicas = {node_id for node_id, seen in real.items() if "slave" in seen["flags"]}
    assert {replica.node_id for replica in found.replication_list} == replicas
    assert [replica.group_name for replica in found.replication_list] == ["group-0", "group-1"]
