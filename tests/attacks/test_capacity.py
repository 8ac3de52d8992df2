"""Requests beyond memory, disk and ports of the host, or beyond a project's quota, are rejected."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from huaweicloudsdkcore.exceptions.exceptions import ClientRequestException
from huaweicloudsdkdcs.v2 import (
    ListInstancesRequest,
    ShowQuotaOfTenantRequest,
    StartInstanceResizeCheckJobRequest,
    StartInstanceResizeCheckJobRequestBody,
)

from caches import cache
from cachewright.cli.start import serve
from cachewright.hosts.resources import total_memory
from cachewright.placement.capacity import MEGABYTE, Size
from environment_faults import small_disk
from sdk_calls import create, created, ended, newest_task, resize, show, spec
from serving import Server

TERABYTE = {"spec_code": spec(128, shard_gb=8), "capacity": 1024}
Start = Callable[..., Server]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a server with these arguments, by default with none."""
    started: list[Server] = []

    def one(*arguments: str) -> Server:
        server = Server(tmp_path / f"data-{len(started)}", arguments=arguments)
        started.append(server)
        server.start()
        return server

    yield one
    for server in started:
        server.clean_up()


def room_for(shards: int) -> tuple[str, str]:
    """The argument with which a host holds so many nodes of 1 GB and half a one more."""
    node = Size(1, 1024 * MEGABYTE).host_memory
    return "--memory-overcommit", str((shards + 0.5) * node / total_memory())


def refused(call: Callable[[], Any]) -> tuple[str, str]:
    with pytest.raises(ClientRequestException) as refusal:
        call()
    assert refusal.value.status_code == 400
    return str(refusal.value.error_code), str(refusal.value.error_msg)


def count(client: Any) -> int:
    return int(client.list_instances(ListInstancesRequest(include_failure="true")).instance_num)


def test_a_terabyte_is_refused_by_create_resize_check_and_plan(start: Start) -> None:
    server = start()
    client = server.client()
    code, message = refused(lambda: create(client, 128, **TERABYTE))
    assert code == "DCS.4036"
    assert "1,283.00 GB needed with overhead, 0.00 GB are allocated to other instances, the host has " in message
    assert count(client) == 0
    instance_id = created(client, 1)
    assert refused(lambda: resize(client, instance_id, 128, shard_gb=8))[0] == "DCS.4036"
    assert refused(lambda: resize(client, instance_id, 1, shard_gb=999))[0] == "DCS.4036"
    body = StartInstanceResizeCheckJobRequestBody(spec_code=TERABYTE["spec_code"])
    request = StartInstanceResizeCheckJobRequest(instance_id=instance_id, body=body)
    assert refused(lambda: client.start_instance_resize_check_job(request))[0] == "DCS.4036"
    assert newest_task(client, instance_id).name == "CreateInstance"
    status, plan = server.call("POST", f"instances/{instance_id}/resize/plan", {"spec_code": TERABYTE["spec_code"]})
    assert (status, plan["shards_after"]) == (200, 128)
    assert "DCS.4036" in [blocker["error_code"] for blocker in plan["blockers"]]
    assert "1,283.00 GB needed" in plan["blockers"][0]["reason"]
    assert show(client, instance_id).status == "RUNNING"
    assert len(server.nodes()) == 1
    no_terabyte_in_place_of_a_single_node(client)


def no_terabyte_in_place_of_a_single_node(client: Any) -> None:
    """No host can hold the cluster that a single instance would become: as many shards, or one large one."""
    instance_id = created(client, 1, spec_code="redis.single.xu1.large.1", capacity=1)
    newest = newest_task(client, instance_id).id
    assert refused(lambda: resize(client, instance_id, 128, shard_gb=8))[0] == "DCS.4036"
    assert refused(lambda: resize(client, instance_id, 1, shard_gb=999))[0] == "DCS.4036"
    assert (newest_task(client, instance_id).id, show(client, instance_id).status) == (newest, "RUNNING")


def test_memory_is_not_promised_twice(start: Start) -> None:
    client = start(*room_for(3)).client()
    assert quotas(client)["ram"] == (0, 3, "GB")
    first = created(client, 2)
    assert refused(lambda: create(client, 2))[0] == "DCS.4036"
    assert refused(lambda: resize(client, first, 4))[0] == "DCS.4036"
    second = created(client, 1)
    assert refused(lambda: create(client, 1))[0] == "DCS.4036"
    assert refused(lambda: resize(client, first, 3))[0] == "DCS.4036"
    assert refused(lambda: resize(client, second, 1, shard_gb=2))[0] == "DCS.4036"
    assert ended(client, first, resize(client, first, 1)).status == "SUCCESS"
    assert ended(client, second, resize(client, second, 2)).status == "SUCCESS"
    assert count(client) == 2


def test_an_instance_that_is_too_large_already_keeps_running_and_can_shrink(tmp_path: Path) -> None:
    server = Server(tmp_path / "data")
    try:
        server.start()
        instance_id = created(server.client(), 1, spec_code=spec(1, shard_gb=999), capacity=999)
        caches = cache(server.client(), instance_id)
        assert doctor(server)["allocated"]["state"] == "warn"
        server.stop()
        server.arguments = ()
        server.start()
        client = server.client()
        assert caches.set("a", "1")
        assert show(client, instance_id).status == "RUNNING"
        assert refused(lambda: create(client, 1))[0] == "DCS.4036"
        assert refused(lambda: resize(client, instance_id, 2, shard_gb=999))[0] == "DCS.4036"
        assert ended(client, instance_id, resize(client, instance_id, 1, shard_gb=1)).status == "SUCCESS"
        assert created(client, 1)
        assert caches.get("a") == b"1"
    finally:
        server.clean_up()


def doctor(server: Server) -> dict[str, Any]:
    command = [sys.executable, "-m", "cachewright", "doctor", "--data-dir", str(server.data_dir), "--json"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return {finding["name"]: finding for finding in json.loads(ran.stdout)}


def test_a_disk_that_cannot_hold_the_nodes_is_told_at_once(tmp_path: Path) -> None:
    server = Server(tmp_path / "data")
    with small_disk(server.data_dir, 128):
        try:
            server.start()
            client = server.client()
            code, message = refused(lambda: create(client, 8))
            assert (code, "of disk needed" in message) == ("DCS.9007", True)
            assert count(client) == 0
        finally:
            server.clean_up()


def test_a_project_has_no_more_than_its_quota(start: Start) -> None:
    quota = ("--quota-instances", "2", "--quota-nodes", "5", "--quota-memory-gb", "6", "--quota-backup-gb", "7")
    server = start("--memory-overcommit", "1000", *quota)
    client = server.client()
    code, message = refused(lambda: create(client, 1, instance_num=3))
    assert (code, "3 asked for, 0 of the project's 2 exist" in message) == ("DCS.4035", True)
    code, message = refused(lambda: create(client, 3, copies=2))
    assert (code, "6 nodes needed" in message) == ("DCS.4039", True)
    code, message = refused(lambda: create(client, 1, spec_code=spec(1, shard_gb=7), capacity=7))
    assert (code, "7.00 GB needed" in message, "quota of 6.00 GB" in message) == ("DCS.4036", True, True)
    first = created(client, 2, copies=2)
    assert refused(lambda: resize(client, first, 3, copies=2))[0] == "DCS.4039"
    assert refused(lambda: resize(client, first, 2, copies=2, shard_gb=2))[0] == "DCS.4036"
    created(client, 1)
    assert refused(lambda: create(client, 1))[0] == "DCS.4035"
    assert ended(client, first, resize(client, first, 1, copies=2)).status == "SUCCESS"
    memory, backup = (3, 6, "GB"), (0, 7, "GB")
    assert quotas(client) == {"instance": (2, 2, None), "node": (3, 5, None), "ram": memory, "backup": backup}
    command = [sys.executable, "-m", "cachewright", "instances", "quota", "--data-dir", str(server.data_dir)]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    rows = [["instance", "2", "2"], ["node", "3", "5"], ["ram", "3", "6", "GB"], ["backup", "0", "7", "GB"]]
    assert [line.split() for line in shown.splitlines()[1:]] == rows


def quotas(client: Any) -> dict[str, tuple[int, int, str | None]]:
    """Used, quota and unit of each resource, read by the cloud's client."""
    found = client.show_quota_of_tenant(ShowQuotaOfTenantRequest()).quotas.resources
    assert all(one.max == one.quota and one.min == 0 for one in found)
    return {one.type: (one.used, one.quota, one.unit) for one in found}


def test_more_nodes_than_could_ever_be_are_refused(server: Server, client: Any) -> None:
    before, tracebacks = count(client), server.log().count("Traceback")
    sizes = {"spec_code": spec(128), "capacity": 128}
    assert refused(lambda: create(client, 128, instance_num=100, **sizes))[0] in {"DCS.4035", "DCS.4039"}
    assert count(client) <= before, "instances of other tests may end meanwhile"
    assert server.log().count("Traceback") == tracebacks


@pytest.mark.parametrize("port", [1, 22, 80, 1023])
def test_a_port_of_the_system_is_refused(server: Server, client: Any, port: int) -> None:
    before = count(client)
    code, message = refused(lambda: create(client, 1, port=port))
    assert (code, "port" in message) == ("DCS.4062", True)
    assert count(client) <= before, "instances of other tests may end meanwhile"


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), 1001])
def test_an_overcommit_that_is_none_is_refused(tmp_path: Path, value: float) -> None:
    with pytest.raises(SystemExit, match=r"^cachewright: --memory-overcommit .* is not above 0 and up to 1000$"):
        serve(data_dir=tmp_path / "data", memory_overcommit=value)
    assert list(tmp_path.iterdir()) == []
