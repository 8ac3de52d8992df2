"""A look into a live cluster with the cloud's client: big and hot keys, slow commands, connections of clients."""

import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from huaweicloudsdkcore.exceptions.exceptions import ClientRequestException
from huaweicloudsdkdcs.v2 import (
    CreateBigkeyScanTaskRequest,
    CreateHotkeyScanTaskRequest,
    HangUpClientsRequest,
    HangUpClientsRequestBody,
    HangUpKillAllClientsRequest,
    HangUpKillAllClientsRequestBody,
    ListClientsRequest,
    ListSlowlogRequest,
    ModifyRedisConfigBody,
    RedisConfig,
    ScanClientsRequest,
    ScanClientsRequestBody,
    ShowBigkeyScanTaskDetailsRequest,
    ShowHotkeyTaskDetailsRequest,
    UpdateInstanceConfigRequest,
)
from test_single import created_single
from valkey import Valkey
from valkey.exceptions import ValkeyError

from caches import cache
from sdk_calls import ENDED, PASSWORD, created, ended, newest_task, progress, show
from serving import Server, until

KEYS = 2_000
MANY_KEYS = 400_000
MANY = "for number = 1, ARGV[1] do redis.call('SET', KEYS[1] .. number, number) end"
SLOW = "local began = os.clock() while os.clock() - began < 0.02 do end return ARGV[1]"


@pytest.fixture(scope="module")
def instance_id(server: Server) -> Iterator[str]:
    """A shard with a replica that counts how often keys are used."""
    client = server.client()
    instance_id = created(client, 1, copies=2)
    counting = RedisConfig(param_id="2", param_name="maxmemory-policy", param_value="allkeys-lfu")
    body = ModifyRedisConfigBody(redis_config=[counting])
    job = client.update_instance_config(UpdateInstanceConfigRequest(instance_id=instance_id, body=body)).job_id
    assert ended(client, instance_id, job).status == "SUCCESS"
    caches = cache(client, instance_id)
    caches.mset_nonatomic({f"small:{number}": "value" for number in range(KEYS)})
    caches.set("large", "x" * 100_000)
    caches.rpush("list", *range(500))
    for _ in range(200):
        caches.get("large")
    yield instance_id
    caches.close()


def direct(client: Any, instance_id: str, name: str) -> Valkey:
    shown = show(client, instance_id)
    return Valkey(host=shown.ip, port=shown.port, password=PASSWORD, client_name=name)


def node_ids(server: Server, instance_id: str) -> dict[str, str]:
    """Ids of the nodes by their roles."""
    status, answer = server.call("GET", f"instances/{instance_id}/logical-nodes")
    assert status == 200
    return {node["node_type"]: node["node_id"] for node in answer["nodes"]}


def test_the_biggest_keys_are_found_on_the_replica_and_the_most_used_on_the_primary(
    server: Server, client: Any, instance_id: str
) -> None:
    shown = show(client, instance_id)
    nodes = node_ids(server, instance_id)
    big = client.create_bigkey_scan_task(CreateBigkeyScanTaskRequest(instance_id=instance_id)).id
    hot = client.create_hotkey_scan_task(CreateHotkeyScanTaskRequest(instance_id=instance_id)).id
    for task_id, role in ((big, "slave"), (hot, "master")):
        assert ended(client, instance_id, task_id).status == "SUCCESS"
        ((sub_step,),) = [step.sub_step_details for step in progress(client, instance_id, task_id).step_details]
        assert sub_step.detail.startswith(f"{{node_id:{nodes[role]},keys_scanned:")
    request = ShowBigkeyScanTaskDetailsRequest(instance_id=instance_id, bigkey_id=big)
    analysis = client.show_bigkey_scan_task_details(request)
    assert (analysis.status, analysis.num) == ("success", 21)
    assert [(key.name, key.size, key.unit, key.shard) for key in analysis.keys if key.size >= 500] == [
        ("large", 100_000, "byte", f"{shown.ip}:{shown.port}"),
        ("list", 500, "count", f"{shown.ip}:{shown.port}"),
    ]
    request = ShowHotkeyTaskDetailsRequest(instance_id=instance_id, hotkey_id=hot)
    analysis = client.show_hotkey_task_details(request)
    assert (analysis.status, analysis.keys[0].name) == ("success", "large")
    assert analysis.keys[0].freq > 5


def test_slow_commands_of_a_period_are_listed(server: Server, client: Any, instance_id: str) -> None:
    begin = int(time.time()) * 1000
    with direct(client, instance_id, "slow") as slow:
        for word in ("first", "second"):
            slow.eval(SLOW, 0, word)

    def listed(**wanted: Any) -> Any:
        wanted = {"start_time": str(begin), "end_time": str(begin + 3_600_000), "limit": 100} | wanted
        return client.list_slowlog(ListSlowlogRequest(instance_id=instance_id, **wanted))

    found = [item for item in listed().slowlogs if "began" in item.command]
    assert [item.command[-6:].strip() for item in found] == ["second", "first"]
    for item in found:
        assert (item.node_role, item.client_ip, item.shard_name) == ("master", "127.0.0.1", "group-0")
        assert float(item.duration) >= 20
    assert len({item.id for item in found}) == 2
    ordered = [float(item.duration) for item in listed(sort_key="duration", sort_dir="asc").slowlogs]
    assert ordered == sorted(ordered)
    assert len(listed(limit=1).slowlogs) == 1
    assert listed(end_time=str(begin - 1), start_time="0").total_num == 0
    assert listed(role="proxy").slowlogs == []


def test_connections_of_clients_are_listed_and_closed(server: Server, client: Any, instance_id: str) -> None:
    nodes = node_ids(server, instance_id)
    primary = nodes["master"]

    def listed(**wanted: Any) -> Any:
        return client.list_clients(ListClientsRequest(instance_id=instance_id, node_id=primary, **wanted))

    def connection(of: Valkey) -> int | None:
        with suppress(ValkeyError):
            return int(of.client_id())
        return None

    with direct(client, instance_id, "one") as one, direct(client, instance_id, "other") as other:
        before = [connection(one), connection(other)]
        found = {item.name: item for item in listed(limit=1000, sort="name", order="asc").clients}
        assert [int(found[name].id) for name in ("one", "other")] == before
        assert {item.user for item in found.values()} == {"default"}
        assert found["one"].peer == f"{show(client, instance_id).ip}:{show(client, instance_id).port}"
        assert listed(addr=found["one"].addr).count == 1
        scan = ScanClientsRequestBody(node_id=primary, clean_cache=True)
        client.scan_clients(ScanClientsRequest(instance_id=instance_id, body=scan))

        body = HangUpClientsRequestBody(node_id=primary, client_addrs=[found["one"].addr, "10.0.0.1:1"])
        answer = client.hang_up_clients(HangUpClientsRequest(instance_id=instance_id, body=body))
        assert answer.status_code == 204
        until(lambda: connection(one) not in {None, before[0]}, "the connection is not closed")
        assert connection(other) == before[1]

        path = f"instances/{instance_id}/clients/kill-all"
        status, job = server.call("POST", path, {"kill_all_nodes": True})
        assert status == 200
        assert ended(client, instance_id, job["job_id"]).status == "SUCCESS"
        until(lambda: connection(other) not in {None, before[1]}, "the connection is not closed")
    kill_all = HangUpKillAllClientsRequestBody(node_id="0" * 40, kill_all_nodes=False)
    with pytest.raises(ClientRequestException) as refused:
        client.hang_up_kill_all_clients(HangUpKillAllClientsRequest(instance_id=instance_id, body=kill_all))
    assert refused.value.error_code == "DCS.3053"
    assert server.call("GET", f"instances/{instance_id}/logical-nodes")[1]["nodes"], "the control plane is cut off"


def test_an_analysis_is_completed_after_node_and_server_were_killed_in_it(own_server: Server) -> None:
    client = own_server.client()
    instance_id = created_single(client)
    with direct(client, instance_id, "filling") as filling:
        filling.eval(MANY, 1, "prefix", MANY_KEYS)
        filling.set("large", "x" * 100_000)
        assert filling.waitaof(1, 0, 60_000)[0] == 1  # a killed node may lose what it has not written yet

    def control(task_id: str, state: str) -> int:
        return own_server.call("PUT", f"instances/{instance_id}/tasks/{task_id}/control", {"state": state})[0]

    def paused() -> str | None:
        """The id of an analysis that has looked at some of the keys. One that ends before its pause is followed by
        another."""
        if (newest := newest_task(client, instance_id)).status in ENDED:
            client.create_bigkey_scan_task(CreateBigkeyScanTaskRequest(instance_id=instance_id))
            return None
        steps = progress(client, instance_id, newest.id).step_details
        details = [one.detail or "" for step in steps for one in step.sub_step_details or []]
        if any("keys_scanned" in one for one in details):
            control(newest.id, "paused")
        return str(newest.id) if any("status:paused" in one for one in details) else None

    task_id = until(paused, "no analysis was paused")
    own_server.kill()
    for node in own_server.nodes():
        node.kill()
    own_server.start()
    client = own_server.client()
    assert control(task_id, "running") == 200
    assert ended(client, instance_id, task_id).status == "SUCCESS"
    request = ShowBigkeyScanTaskDetailsRequest(instance_id=instance_id, bigkey_id=task_id)
    analysis = client.show_bigkey_scan_task_details(request)
    assert (analysis.status, analysis.keys[0].name, analysis.keys[0].size) == ("success", "large", 100_000)
    ((sub_step,),) = [step.sub_step_details for step in progress(client, instance_id, task_id).step_details]
    assert f"keys_scanned:{MANY_KEYS + 1}," in sub_step.detail
