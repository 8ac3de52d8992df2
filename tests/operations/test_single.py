"""Single instances, from their creation to their end: one node that is no cluster."""

import threading
import time
from typing import Any

import pytest
from huaweicloudsdkcore.exceptions.exceptions import ClientRequestException
from huaweicloudsdkdcs.v2 import (
    ChangeInstanceStatusBody,
    DeleteSingleInstanceRequest,
    ListInstancesRequest,
    ResizeInstanceBody,
    ResizeInstanceRequest,
    RestartOrFlushInstancesRequest,
    ShowInstanceTopologyRequest,
    ShowNodesInformationRequest,
)
from valkey import Valkey
from valkey.exceptions import NoPermissionError, ValkeyError

from caches import operator_of
from sdk_calls import PASSWORD, create, created, ended, gone, newest_task, progress, show
from serving import Server, until

MB = 1024 * 1024


def code(megabytes: int) -> str:
    return f"redis.single.xu1.{f'tiny.{megabytes}' if megabytes < 1024 else f'large.{megabytes // 1024}'}"


def created_single(client: Any, megabytes: int = 1024, **changed: Any) -> str:
    """Id of a single instance that is RUNNING."""
    return created(client, 1, spec_code=code(megabytes), capacity=megabytes / 1024, **changed)


def resize_single(client: Any, instance_id: str, megabytes: int) -> str:
    """Id of the resize's task."""
    body = ResizeInstanceBody(spec_code=code(megabytes), new_capacity=megabytes / 1024)
    client.resize_instance(ResizeInstanceRequest(instance_id=instance_id, body=body))
    return str(newest_task(client, instance_id).id)


def restart(client: Any, instance_id: str) -> str:
    body = ChangeInstanceStatusBody(instances=[instance_id], action="restart")
    assert client.restart_or_flush_instances(RestartOrFlushInstancesRequest(body=body)).results[0].result == "success"
    return str(newest_task(client, instance_id).id)


def connected(client: Any, instance_id: str, **options: Any) -> Valkey:
    """A client that knows nothing of clusters."""
    shown = show(client, instance_id)
    return Valkey(host=shown.ip, port=shown.port, password=PASSWORD, decode_responses=True, **options)


def maxmemory(server: Server, client: Any, instance_id: str) -> int:
    shown = show(client, instance_id)
    with operator_of(server, shown.ip, shown.port) as node:
        return int(node.config_get("maxmemory")["maxmemory"])


class Writer(threading.Thread):
    """Counts up in one key until told to finish, and connects again when its node is away."""

    def __init__(self, client: Any, instance_id: str) -> None:
        super().__init__()
        self._node = connected(client, instance_id, socket_timeout=5)
        self._finishing = threading.Event()
        self.acknowledged = 0

    def run(self) -> None:
        number = 0
        while not self._finishing.is_set():
            try:
                self._node.set(f"written:{number % 100}", number)
            except ValkeyError:
                time.sleep(0.01)
                continue
            self.acknowledged = number
            number += 1

    def wait_for(self, writes: int) -> None:
        """Returns when so many more writes have been acknowledged."""
        before = self.acknowledged
        until(lambda: self.acknowledged >= before + writes, "nothing is written")

    def finish(self) -> None:
        self._finishing.set()
        self.join()

    def lost(self, node: Valkey) -> list[int]:
        """Acknowledged writes of the last hundred that are not there. A write that was sent and not acknowledged may be
        there too."""
        newest = range(max(0, self.acknowledged - 99), self.acknowledged + 1)
        return [number for number in newest if int(node.get(f"written:{number % 100}") or -1) < number]


def test_a_single_instance_from_its_creation_to_its_end(own_server: Server) -> None:
    client = own_server.client()
    instance_id = created_single(client, 128, name="lone")
    shown = show(client, instance_id)
    assert (shown.cache_mode, shown.spec_code, shown.capacity, shown.capacity_minor) == (
        "single",
        code(128),
        0,
        ".125",
    )
    assert (shown.max_memory, shown.sharding_count, shown.replica_count, shown.db_number) == (128, 1, 1, 256)
    (listed,) = client.list_instances(ListInstancesRequest()).instances
    assert (listed.instance_id, listed.spec_code) == (instance_id, code(128))
    steps = [step.step_name for step in progress(client, instance_id, newest_task(client, instance_id).id).step_details]
    assert steps == ["Pre-check.", "Resource request.", "Post-check."]
    (process,) = own_server.nodes()

    node = connected(client, instance_id)
    assert node.info("cluster")["cluster_enabled"] == 0
    for denied in (("REPLICAOF", "127.0.0.1", "1"), ("CONFIG", "GET", "*"), ("SHUTDOWN",), ("CLUSTER", "RESET")):
        with pytest.raises(NoPermissionError):
            node.execute_command(*denied)
    node.set("key", "value")
    with connected(client, instance_id, db=255) as last:
        last.set("key", "of the last database")
    (told,) = client.show_nodes_information(ShowNodesInformationRequest(instance_id=instance_id)).nodes
    assert (told.node_type, told.status, told.node_port) == ("master", "Active", str(shown.port))
    (server,) = client.show_instance_topology(ShowInstanceTopologyRequest(instance_id=instance_id)).redis_server
    assert (server.db_num, server.node_type, server.max_memory) == ("256", "master", "128")
    status, state = own_server.call("GET", f"instances/{instance_id}/state")
    assert (status, state["cluster_state"], state["moving"]) == (200, "ok", [])
    assert [(shard["slots"], len(shard["nodes"])) for shard in state["shards"]] == [([], 1)]
    assert state["shards"][0]["nodes"][0]["keys"] == 2

    for megabytes in (1024, 256):
        task_id = resize_single(client, instance_id, megabytes)
        row = ended(client, instance_id, task_id)
        assert (row.name, row.status) == ("EXTEND", "SUCCESS")
        assert show(client, instance_id).max_memory == megabytes
        assert maxmemory(own_server, client, instance_id) == megabytes * MB
    assert [other.pid for other in own_server.nodes()] == [process.pid], "a resize restarts nothing"

    changed = {"redis_config": [{"param_id": "1", "param_name": "timeout", "param_value": "100"}]}
    assert own_server.call("PUT", f"instances/{instance_id}/configs", changed)[0] in {200, 204}
    assert ended(client, instance_id, newest_task(client, instance_id).id).status == "SUCCESS"

    assert ended(client, instance_id, restart(client, instance_id)).status == "SUCCESS"
    assert process.pid not in {other.pid for other in own_server.nodes()}
    assert (node.get("key"), show(client, instance_id).status) == ("value", "RUNNING")
    with connected(client, instance_id, db=255) as last:
        assert last.get("key") == "of the last database"
    assert maxmemory(own_server, client, instance_id) == 256 * MB
    shown = show(client, instance_id)
    with operator_of(own_server, shown.ip, shown.port) as operator:
        assert operator.config_get("timeout")["timeout"] == "100"

    client.delete_single_instance(DeleteSingleInstanceRequest(instance_id=instance_id))
    until(lambda: gone(client, instance_id), "the instance is not gone")
    assert own_server.nodes() == []
    assert list((own_server.data_dir / "nodes").iterdir()) == []


def test_a_size_that_the_data_does_not_fit_in_is_refused(own_server: Server) -> None:
    client = own_server.client()
    instance_id = created_single(client, 256)
    node = connected(client, instance_id)
    for number in range(120):
        node.set(f"large:{number}", "x" * MB)
    status, plan = own_server.call("POST", f"instances/{instance_id}/resize/plan", {"spec_code": code(128)})
    assert (status, [blocker["error_code"] for blocker in plan["blockers"]]) == (200, ["DCS.9008"])
    newest = newest_task(client, instance_id).id
    with pytest.raises(ClientRequestException) as too_full:
        resize_single(client, instance_id, 128)
    assert (too_full.value.status_code, too_full.value.error_code) == (400, "DCS.9008")
    assert plan["blockers"][0]["reason"].split(" would hold")[0] in too_full.value.error_msg
    assert newest_task(client, instance_id).id == newest, "a task was created"
    shown = show(client, instance_id)
    assert (shown.status, shown.spec_code) == ("RUNNING", code(256))

    node.flushall()
    assert ended(client, instance_id, resize_single(client, instance_id, 128)).status == "SUCCESS"
    assert maxmemory(own_server, client, instance_id) == 128 * MB
    with pytest.raises(ClientRequestException) as refused:
        resize_single(client, instance_id, 128)
    assert refused.value.error_code == "DCS.4103"


@pytest.mark.parametrize("change", ["resize", "restart"])
def test_no_acknowledged_write_is_lost_when_node_and_server_are_killed_in_mid_change(
    own_server: Server, change: str
) -> None:
    client = own_server.client()
    instance_id = created_single(client, 256)
    size = 256
    writer = Writer(client, instance_id)
    writer.start()
    try:
        for delay in (0.0, 0.1, 0.25):
            writer.wait_for(200)
            if change == "resize":
                size = 768 - size  # 512 and 256 in turn
            task_id = resize_single(client, instance_id, size) if change == "resize" else restart(client, instance_id)
            time.sleep(delay)  # so that each kill meets another part of the change
            for process in own_server.nodes():
                process.kill()
            own_server.kill()
            own_server.start()
            client = own_server.client()
            row = ended(client, instance_id, task_id)
            assert row.status == "SUCCESS", own_server.call("GET", f"tasks/{task_id}")[1]
            assert show(client, instance_id).max_memory == size
        writer.wait_for(1)
    finally:
        writer.finish()
    assert writer.lost(connected(client, instance_id)) == []
    until(lambda: show(client, instance_id).status == "RUNNING", "the instance is not RUNNING")
    assert maxmemory(own_server, client, instance_id) == size * MB
    assert len(own_server.nodes()) == 1


def test_a_creation_goes_on_after_the_server_was_killed_in_it(own_server: Server) -> None:
    client = own_server.client()
    instance_id = create(client, 1, spec_code=code(1024), capacity=1)
    task_id = newest_task(client, instance_id).id
    until(own_server.nodes, "no node is started")
    own_server.kill()
    own_server.start()
    client = own_server.client()
    assert ended(client, instance_id, task_id).status == "SUCCESS"
    assert connected(client, instance_id).ping()
    assert len(own_server.nodes()) == 1


def test_a_node_that_dies_is_started_again_with_its_data(own_server: Server) -> None:
    client = own_server.client()
    instance_id = created_single(client)
    node = connected(client, instance_id)
    node.set("key", "value")
    (process,) = own_server.nodes()
    process.kill()
    until(lambda: [other.pid for other in own_server.nodes() if other.pid != process.pid], "no node is started")
    until(lambda: answered(node) == "value", "the node does not answer")


def answered(node: Valkey) -> object:
    try:
        return node.get("key")
    except ValkeyError:
        return None


def test_a_node_that_was_made_a_replica_is_reported_until_it_is_a_primary_again(own_server: Server) -> None:
    client = own_server.client()
    instance_id = created_single(client)
    shown = show(client, instance_id)
    with operator_of(own_server, shown.ip, shown.port) as operator:
        operator.replicaof("127.0.0.1", "1")
        until(lambda: show(client, instance_id).status == "ERROR", "the fault is not found")
        assert own_server.call("GET", f"instances/{instance_id}")[1]["error_code"] == "DCS.9010"
        operator.replicaof("NO", "ONE")
    until(lambda: show(client, instance_id).status == "RUNNING", "the instance stays in ERROR")
