"""Flushing real instances: all keys are deleted, and nothing else changes."""

from typing import Any

from huaweicloudsdkdcs.v2 import ChangeInstanceStatusBody, RestartOrFlushInstancesRequest
from valkey import Valkey

from caches import cache, load, present
from sdk_calls import PASSWORD, created, ended, newest_task, progress, resize, show
from serving import Server, until

KEYS = 20_000


def flush(client: Any, *instance_ids: str) -> list[Any]:
    body = ChangeInstanceStatusBody(instances=list(instance_ids), action="flush")
    return list(client.restart_or_flush_instances(RestartOrFlushInstancesRequest(body=body)).results)


def test_every_key_of_every_shard_and_replica_is_deleted(server: Server, client: Any) -> None:
    instance_id = created(client, 2, copies=2)
    caches = cache(client, instance_id)
    load(caches, KEYS)
    (result,) = flush(client, instance_id)
    assert result.result == "success"
    task_id = newest_task(client, instance_id).id
    row = ended(client, instance_id, task_id)
    assert (row.name, row.status) == ("FlushInstance", "SUCCESS")
    until(lambda: show(client, instance_id).status == "RUNNING", "the instance is not RUNNING")
    assert present(caches, KEYS) == 0
    until(lambda: caches.dbsize(target_nodes="all") == 0, "a replica still has keys")
    (step,) = progress(client, instance_id, task_id).step_details
    details = [sub_step.detail for sub_step in step.sub_step_details]
    counted = [int(detail.partition(",keys:")[2].partition(",")[0]) for detail in details]
    assert sum(counted) == KEYS
    assert all("pending_keys:0" in detail for detail in details)
    caches.set("after", "1")
    assert caches.get("after") == b"1"

    load(caches, KEYS)
    resized = resize(client, instance_id, 3, copies=2)
    assert server.call("PUT", f"instances/{instance_id}/tasks/{resized}/control", {"state": "paused"})[0] == 200
    refused, unknown = flush(client, instance_id, "00000000-0000-4000-8000-000000000001")
    assert (refused.result, unknown.result) == ("failed", "failed")
    status, answer = server.call("PUT", "instances/status", {"instances": [instance_id], "action": "flush"})
    assert status == 200
    assert answer["results"][0]["error_code"] == "DCS.4113"
    assert newest_task(client, instance_id).id == resized
    server.call("POST", f"instances/{instance_id}/tasks/{resized}/cancel")
    ended(client, instance_id, resized)
    assert present(caches, KEYS) == KEYS, "nothing was flushed"


def test_a_single_instance_is_flushed_in_all_databases(server: Server, client: Any) -> None:
    instance_id = created(client, 1, spec_code="redis.single.xu1.tiny.128", capacity=0.125)
    shown = show(client, instance_id)
    for number in (0, 7):
        with Valkey(shown.ip, shown.port, db=number, password=PASSWORD) as database:
            database.set("a", "1")
    flush(client, instance_id)
    assert ended(client, instance_id, newest_task(client, instance_id).id).status == "SUCCESS"
    with Valkey(shown.ip, shown.port, db=7, password=PASSWORD) as database:
        assert database.dbsize() == 0
