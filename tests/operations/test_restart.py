"""Restarting real clusters: every node is a new process, nothing is lost, and a shard with a replica serves on."""

from typing import Any

import pytest
from huaweicloudsdkcore.exceptions.exceptions import SdkException
from huaweicloudsdkdcs.v2 import ChangeInstanceStatusBody, RestartOrFlushInstancesRequest

from caches import cache, load, present, serves, states
from sdk_calls import created, ended, newest_task, progress, resize, show
from serving import Server, until
from traffic import Traffic

KEYS = 20_000


def restart(client: Any, instance_id: str, action: str = "restart") -> str:
    """The task's id."""
    body = ChangeInstanceStatusBody(instances=[instance_id], action=action)
    (result,) = client.restart_or_flush_instances(RestartOrFlushInstancesRequest(body=body)).results
    assert (result.result, result.instance) == ("success", instance_id)
    return str(newest_task(client, instance_id).id)


def pids(server: Server) -> set[int]:
    return {process.pid for process in server.nodes()}


def test_a_cluster_with_replicas_serves_while_it_restarts(own_server: Server) -> None:
    client = own_server.client()
    instance_id = created(client, 2, copies=2)
    caches = cache(client, instance_id)
    load(caches, KEYS)
    before = pids(own_server)
    writers = [Traffic(number, show(client, instance_id).port) for number in range(2)]
    for writer in writers:
        writer.start()
    until(lambda: all(writer.writes for writer in writers), "nobody writes")
    task_id = restart(client, instance_id)
    assert show(client, instance_id).status == "RESTARTING"
    row = ended(client, instance_id, task_id)
    assert (row.name, row.status) == ("RestartInstance", "SUCCESS")
    assert len(pids(own_server)) == 4
    assert pids(own_server) & before == set(), "every node is another process"
    for writer in writers:
        writer.finish(cache(client, instance_id))
        assert writer.losses == []
    assert present(cache(client, instance_id), KEYS) == KEYS
    assert states(cache(client, instance_id)) == {"ok"}
    assert show(client, instance_id).status == "RUNNING"
    told = progress(client, instance_id, task_id)
    assert [step.step_name for step in told.step_details] == ["Pre-check.", "Node restart.", "Post-check."]
    names = [sub.sub_step_name for sub in told.step_details[1].sub_step_details]
    assert names == [f"Node restart. Shard {shard}, {role}" for shard in (0, 1) for role in ("replica", "primary")]
    assert "has died" not in own_server.log(), "who restarts a node is not taken for who has killed it"


@pytest.mark.parametrize("action", ["restart", "soft_restart"])
def test_a_cluster_without_replicas_comes_back_with_all_its_data(own_server: Server, action: str) -> None:
    client = own_server.client()
    instance_id = created(client, 2)
    load(cache(client, instance_id), KEYS)
    before = pids(own_server)
    task_id = restart(client, instance_id, action)
    with pytest.raises(SdkException) as refused:
        resize(client, instance_id, 3)
    assert refused.value.error_code == "DCS.4111"
    assert ended(client, instance_id, task_id).status == "SUCCESS"
    assert pids(own_server) & before == set()
    assert present(cache(client, instance_id), KEYS) == KEYS


def test_a_restart_goes_on_after_the_server_was_killed_in_it(own_server: Server) -> None:
    client = own_server.client()
    instance_id = created(client, 3)
    load(cache(client, instance_id), KEYS)
    before = pids(own_server)
    task_id = restart(client, instance_id)

    def half_way() -> bool:
        subs = progress(client, instance_id, task_id).step_details[1].sub_step_details
        return [sub.sub_step_status for sub in subs][:1] == ["FINISH"]

    until(half_way, "the first node is not restarted")
    first = pids(own_server) - before
    own_server.kill()
    assert len(pids(own_server)) >= 2, "nodes go on without the server"
    own_server.start()
    client = own_server.client()
    assert ended(client, instance_id, task_id).status == "SUCCESS"
    after = pids(own_server)
    assert after & before == set()
    assert len(after & first) >= 1, "who was restarted before the server was killed is not restarted again"
    assert present(cache(client, instance_id), KEYS) == KEYS


def test_a_restart_stops_between_nodes_when_it_is_cancelled(own_server: Server) -> None:
    client = own_server.client()
    instance_id = created(client, 3)
    load(cache(client, instance_id), KEYS)
    task_id = restart(client, instance_id)
    own_server.call("POST", f"instances/{instance_id}/tasks/{task_id}/cancel")
    assert ended(client, instance_id, task_id).status == "FAILED"
    _, record = own_server.call("GET", f"tasks/{task_id}")
    assert record["task"]["error_code"] == "DCS.9005"
    assert show(client, instance_id).status == "RUNNING"
    until(lambda: serves(client, instance_id), "the cluster is not whole")
    assert present(cache(client, instance_id), KEYS) == KEYS
    status, _ = own_server.call("POST", f"instances/{instance_id}/tasks/{task_id}/retry")
    assert status == 200
    assert ended(client, instance_id, task_id).status == "SUCCESS"
