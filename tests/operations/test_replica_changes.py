"""Replicas are added to the shards of a cluster and removed from them, under traffic."""

from typing import Any

import psutil
from huaweicloudsdkdcs.v2 import (
    ModifyInstanceBody,
    ResizeInstanceBody,
    ResizeInstanceRequest,
    UpdateInstanceRequest,
)

from caches import cache, load, present, serves
from sdk_calls import created, ended, newest_task, progress, show, spec, window
from serving import Server, until
from traffic import Traffic

KEYS = 60_000


def change(client: Any, instance_id: str, copies: int, **fields: Any) -> str:
    """Start a resize of two shards to this number of copies, and return the id of its task."""
    body = ResizeInstanceBody(spec_code=spec(2, copies=copies), new_capacity=2, **fields)
    client.resize_instance(ResizeInstanceRequest(instance_id=instance_id, body=body))
    return str(newest_task(client, instance_id).id)


def process_of(server: Server, node_id: str) -> psutil.Process:
    return next(node for node in server.nodes() if any(node_id in word for word in node.info["cmdline"]))


def members(client: Any, instance_id: str) -> list[dict[str, Any]]:
    return list(cache(client, instance_id).cluster_nodes().values())


def synchronizing(client: Any, instance_id: str, task_id: str) -> str | None:
    """Id of a node that receives its data now."""
    for step in progress(client, instance_id, task_id).step_details:
        for sub_step in step.sub_step_details or []:
            if sub_step.sub_step_status == "EXECUTING" and "received_bytes:" in sub_step.detail:
                return str(sub_step.detail.partition("node_id:")[2].partition(",")[0])
    return None


def require_copies(server: Server, client: Any, instance_id: str, copies: int) -> None:
    until(lambda: serves(client, instance_id), "the cluster is not whole")
    nodes = members(client, instance_id)
    leads = [node for node in nodes if node["slots"]]
    assert len(leads) == 2
    followers = sorted(node["master_id"] for node in nodes if not node["slots"])
    assert followers == sorted([lead["node_id"] for lead in leads] * (copies - 1))
    assert len(server.nodes()) == len(list((server.data_dir / "nodes").glob("*/valkey.conf"))) == 2 * copies
    shown = show(client, instance_id)
    assert (shown.status, shown.replica_count, shown.spec_code) == ("RUNNING", copies, spec(2, copies=copies))


def test_replicas_come_and_go_while_nodes_and_the_server_are_killed(own_server: Server) -> None:
    client = own_server.client()
    instance_id = created(client, 2, **window(6))
    load(cache(client, instance_id), KEYS)
    traffic = [Traffic(number, show(client, instance_id).port) for number in range(2)]
    for thread in traffic:
        thread.start()

    task_id = change(client, instance_id, 3)
    until(lambda: synchronizing(client, instance_id, task_id), "no replica synchronizes")
    assert own_server.call("POST", f"instances/{instance_id}/resize/cancel/{task_id}")[0] == 200
    assert ended(client, instance_id, task_id).status == "FAILED"
    require_copies(own_server, client, instance_id, 1)

    added = {"change_type": "createReplication", "available_zones": ["local"]}
    task_id = change(client, instance_id, 3, execute_immediately=False, **added)
    own_server.kill()
    own_server.start()
    client = own_server.client()
    assert newest_task(client, instance_id).status == "WAITING"
    assert show(client, instance_id).status == "RUNNING", own_server.log()[-3000:]
    open_now = ModifyInstanceBody(**window(0))
    client.update_instance(UpdateInstanceRequest(instance_id=instance_id, body=open_now))
    joining = until(lambda: synchronizing(client, instance_id, task_id), "no replica synchronizes")
    process_of(own_server, joining).kill()
    own_server.kill()
    own_server.start()
    client = own_server.client()
    assert ended(client, instance_id, task_id).status == "SUCCESS"
    require_copies(own_server, client, instance_id, 3)

    lead = next(
        node["node_id"]
        for node in members(client, instance_id)
        if node["slots"] and node["node_id"] != seed(own_server, client, instance_id)
    )
    task_id = change(client, instance_id, 1, change_type="deleteReplication", node_list=[lead])
    until(lambda: len(own_server.nodes()) < 6, "no replica leaves")
    own_server.kill()
    own_server.start()
    client = own_server.client()
    assert ended(client, instance_id, task_id).status == "SUCCESS"
    require_copies(own_server, client, instance_id, 1)
    assert lead not in {node["node_id"] for node in members(client, instance_id)}

    caches = cache(client, instance_id)
    for thread in traffic:
        thread.finish(caches)
    assert [loss for thread in traffic for loss in thread.losses] == []
    assert all(thread.writes for thread in traffic)
    assert present(caches, KEYS) == KEYS


def seed(server: Server, client: Any, instance_id: str) -> str:
    """Id of the node with the address of the instance."""
    port = show(client, instance_id).port
    return next(
        node["node_id"]
        for address, node in cache(client, instance_id).cluster_nodes().items()
        if address.endswith(f":{port}")
    )
