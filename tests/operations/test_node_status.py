"""Stopping and starting single nodes, on a real cluster."""

from typing import Any

import pytest
from huaweicloudsdkcore.exceptions.exceptions import SdkException
from huaweicloudsdkdcs.v2 import (
    ChangeMasterStandbyAsyncRequest,
    ChangeNodesStartStopStatusBody,
    ChangeNodesStartStopStatusRequest,
    ListGroupReplicationInfoRequest,
    PriorityBody,
    ShowJobInfoRequest,
    UpdateSlavePriorityRequest,
)
from valkey.cluster import ValkeyCluster

from caches import cache, serves
from sdk_calls import PASSWORD, created, ended, resize, show
from serving import Server, until


def change(client: Any, instance_id: str, action: str, *node_ids: str) -> None:
    """Change the status of nodes, and wait for the job whose id the response names."""
    body = ChangeNodesStartStopStatusBody(action=action, node_ids=list(node_ids))
    request = ChangeNodesStartStopStatusRequest(instance_id=instance_id, body=body)
    answer = client.change_nodes_start_stop_status(request).body
    name, _, job_id = answer.partition(":")
    assert name == "job_id"
    request = ShowJobInfoRequest(job_id=job_id)
    job = until(lambda: (job := client.show_job_info(request)).status in {"SUCCESS", "FAIL"} and job, "no end", 120)
    assert job.status == "SUCCESS", job.fail_reason


def roles(client: Any, instance_id: str) -> dict[str, str]:
    answer = client.list_group_replication_info(ListGroupReplicationInfoRequest(instance_id=instance_id))
    return {node.replication_role: node.node_id for node in answer.group_list[0].replication_list}


def weigh(client: Any, server: Server, instance_id: str, node_id: str, weight: int) -> None:
    (shard,) = server.call("GET", f"instances/{instance_id}/state")[1]["shards"]
    request = UpdateSlavePriorityRequest(
        instance_id=instance_id,
        group_id=shard["group_id"],
        node_id=node_id,
        body=PriorityBody(slave_priority_weight=weight),
    )
    client.update_slave_priority(request)


def incidents(server: Server, instance_id: str) -> list[str]:
    return [one["kind"] for one in server.call("GET", f"instances/{instance_id}/state")[1]["incidents"]]


def test_nodes_stay_stopped_until_they_are_started(own_server: Server) -> None:
    client = own_server.client()
    instance_id = created(client, 1, copies=2)
    cache(client, instance_id).set("a", "1")
    before = roles(client, instance_id)
    weigh(client, own_server, instance_id, before["slave"], 0)
    with pytest.raises(AssertionError, match="no replica can take over"):
        change(client, instance_id, "stop", before["master"])
    assert len(own_server.nodes()) == 2, "the only node that may be primary is not stopped"
    weigh(client, own_server, instance_id, before["slave"], 100)
    change(client, instance_id, "stop", before["master"])
    assert roles(client, instance_id)["master"] == before["slave"], "the replica has taken over"
    assert len(own_server.nodes()) == 1
    until(lambda: incidents(own_server, instance_id) == ["stopped_nodes"], "the instance does not show it")
    assert show(client, instance_id).status == "RUNNING"
    (other,) = [
        node["node_port"]
        for node in own_server.call("GET", f"instances/{instance_id}/logical-nodes")[1]["nodes"]
        if node["node_id"] == before["slave"]
    ]
    assert ValkeyCluster(host="127.0.0.1", port=int(other), password=PASSWORD).get("a") == b"1"

    with pytest.raises(SdkException) as refused:
        change(client, instance_id, "stop", before["slave"])
    assert refused.value.error_code == "DCS.4027"
    with pytest.raises(SdkException) as refused:
        resize(client, instance_id, 2, copies=2)
    assert refused.value.error_code == "DCS.4049"
    assert before["master"] in refused.value.error_msg
    with pytest.raises(SdkException) as refused:
        change(client, instance_id, "stop", "0" * 40)
    assert refused.value.error_code == "DCS.3053"

    own_server.kill()
    own_server.start()
    client = own_server.client()
    until(lambda: incidents(own_server, instance_id) == ["stopped_nodes"], "the instance does not show it")
    assert len(own_server.nodes()) == 1, "the next server leaves it stopped"
    change(client, instance_id, "start", before["master"])
    assert len(own_server.nodes()) == 2
    until(lambda: incidents(own_server, instance_id) == [], "the incident does not end")

    change(client, instance_id, "stop")
    assert own_server.nodes() == []
    until(lambda: show(client, instance_id).status == "ERROR", "the instance does not show it")
    change(client, instance_id, "start")
    until(lambda: show(client, instance_id).status == "RUNNING", "the instance is not RUNNING")
    until(lambda: serves(client, instance_id), "the cluster does not serve")
    assert cache(client, instance_id).get("a") == b"1"


def test_a_primary_with_a_standby_stops_and_starts(server: Server, client: Any) -> None:
    instance_id = created(client, 1, spec_code="redis.ha.xu1.large.r2.1", capacity=1)
    before = roles(client, instance_id)
    change(client, instance_id, "stop", before["master"])
    assert roles(client, instance_id)["master"] == before["slave"], "the replica has taken over"
    change(client, instance_id, "start", before["master"])
    assert roles(client, instance_id) == {"master": before["slave"], "slave": before["master"]}
    request = ChangeMasterStandbyAsyncRequest(instance_id=instance_id)
    swapped = client.change_master_standby_async(request).job_id
    assert ended(client, instance_id, swapped).status == "SUCCESS"
    assert roles(client, instance_id) == before
