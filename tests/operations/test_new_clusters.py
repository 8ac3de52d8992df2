"""Single and primary/standby instances become clusters while clients write and processes are killed."""

import threading
import time
from contextlib import suppress
from typing import Any

import psutil
import pytest
from huaweicloudsdkcore.exceptions.exceptions import ClientRequestException
from huaweicloudsdkdcs.v2 import ResizeInstanceBody, ResizeInstanceRequest, ShowNodesInformationRequest
from test_ha import in_sync
from valkey import Valkey
from valkey.cluster import ValkeyCluster
from valkey.exceptions import MovedError, ResponseError

from caches import FAULTS, states
from cachewright.flavors import parse
from sdk_calls import PASSWORD, created, ended, is_held, newest_task, progress, resize, show, spec
from serving import Server, until

SINGLE, HA = "redis.single.xu1.large.1", "redis.ha.xu1.large.r2.1"
KEYS = 20_000


def connected(client: Any, instance_id: str, **options: Any) -> Valkey:
    shown = show(client, instance_id)
    return Valkey(
        host=shown.ip, port=shown.port, password=PASSWORD, decode_responses=True, socket_timeout=20, **options
    )


def change(client: Any, instance_id: str, shards: int, copies: int = 1) -> str:
    """Start the change to a cluster. Return the id of its task."""
    body = ResizeInstanceBody(
        spec_code=spec(shards, copies=copies), new_capacity=shards, change_type="instanceType", execute_immediately=True
    )
    client.resize_instance(ResizeInstanceRequest(instance_id=instance_id, body=body))
    return str(newest_task(client, instance_id).id)


class Writer(threading.Thread):
    """Counts up its own keys at one address, as a client of any kind of instance: it follows redirections as soon as it
    gets one. Records the last acknowledged number of each key, and values that are older."""

    def __init__(self, client: Any, instance_id: str) -> None:
        super().__init__(daemon=True)
        shown = show(client, instance_id)
        self._place = {"host": shown.ip, "port": shown.port, "password": PASSWORD, "socket_timeout": 20}
        self._finishing = threading.Event()
        self._acknowledged: dict[str, int] = {}
        self.writes = 0
        self.longest_wait = 0.0
        self.lost: list[str] = []

    def __enter__(self) -> "Writer":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._finishing.set()
        self.join()

    def run(self) -> None:
        number, last, kind = 0, time.monotonic(), Valkey
        node: Any = None
        while not self._finishing.is_set():
            number += 1
            key = f"written:{number % 300}"
            try:
                node = node or kind(**self._place)
                self._require(key, int(node.set(key, number, get=True) or 0))
            except MovedError:
                node, kind = None, ValkeyCluster
                continue
            except FAULTS:
                node = None
                time.sleep(0.01)
                continue
            self._acknowledged[key] = number
            self.writes += 1
            self.longest_wait, last = max(self.longest_wait, time.monotonic() - last), time.monotonic()

    def _require(self, key: str, found: int) -> None:
        if found < (known := self._acknowledged.get(key, 0)):
            self.lost.append(f"{key} is {found}, {known} was acknowledged")

    def wait_for(self, writes: int) -> None:
        enough = self.writes + writes
        until(lambda: self.writes >= enough, "the writer cannot write")

    def verify(self, caches: ValkeyCluster) -> None:
        """Require the last write to each key. Call it after the end of the writer."""
        for key in self._acknowledged:
            self._require(key, int(caches.get(key) or 0))
        assert not self.lost, self.lost[:3]


def fill(client: Any, instance_id: str) -> None:
    node = connected(client, instance_id)
    for start in range(0, KEYS, 2000):
        node.mset({f"key:{number}": "x" * 100 for number in range(start, start + 2000)})
    node.set("expiring", 1, ex=3600)
    node.xadd("stream", {"field": 1})
    node.xgroup_create("stream", "group", id="0")
    node.function_load("#!lua name=own\nserver.register_function('hello', function() return 'hello' end)")


def caches_of(client: Any, instance_id: str) -> ValkeyCluster:
    shown = show(client, instance_id)
    return ValkeyCluster(host=shown.ip, port=shown.port, password=PASSWORD, decode_responses=True, socket_timeout=20)


def has_all(caches: ValkeyCluster) -> None:
    assert sum(caches.exists(f"key:{number}") for number in range(0, KEYS, 7)) == len(range(0, KEYS, 7))
    assert 0 < caches.ttl("expiring") <= 3600
    assert [group["name"] for group in caches.xinfo_groups("stream")] == ["group"]
    assert caches.fcall("hello", 1, "any") == "hello"


def succeeded(server: Server, client: Any, instance_id: str, task_id: str, spec_code: str) -> None:
    """Require that the task succeeds, and that API and processes are those of the cluster."""
    assert ended(client, instance_id, task_id).status == "SUCCESS", server.call("GET", f"tasks/{task_id}")
    shown = show(client, instance_id)
    assert (shown.status, shown.cache_mode, shown.spec_code) == ("RUNNING", "cluster", spec_code)
    nodes = client.show_nodes_information(ShowNodesInformationRequest(instance_id=instance_id)).nodes
    flavor = parse(spec_code)
    assert len(nodes) == flavor.shards * flavor.copies
    folders = {path.parent.name for path in (server.data_dir / "nodes").glob("*/valkey.conf")}
    assert folders >= {node.node_id for node in nodes}


def sub_step(client: Any, instance_id: str, task_id: str, name: str) -> Any:
    steps = progress(client, instance_id, task_id).step_details or []
    return next((sub for step in steps for sub in step.sub_step_details if sub.sub_step_name == name), None)


def test_a_single_instance_becomes_a_cluster_under_writes_and_kills(own_server: Server) -> None:
    """The new node is killed while it copies, and the server when the former node has ended."""
    client = own_server.client()
    instance_id = created(client, 1, spec_code=SINGLE, capacity=1)
    address = (show(client, instance_id).ip, show(client, instance_id).port)
    (former,) = own_server.nodes()
    fill(client, instance_id)
    refused_with_another_database(own_server, client, instance_id)
    with Writer(client, instance_id) as writer:
        writer.wait_for(100)
        task_id = change(client, instance_id, 2)
        until(lambda: len(own_server.nodes()) > 1, "the new node does not start")
        for process in own_server.nodes():
            if process.pid != former.pid:
                process.kill()
        until(lambda: not psutil.pid_exists(former.pid), "the former node does not end")
        own_server.kill()
        own_server.start()
        client = own_server.client()
        succeeded(own_server, client, instance_id, task_id, spec(2))
        assert len(list((own_server.data_dir / "nodes").glob("*/valkey.conf"))) == 2, "a former node is left"
        until(lambda: len(own_server.nodes()) == 2, "the process of a former node is left")
        assert (show(client, instance_id).ip, show(client, instance_id).port) == address
        writer.wait_for(100)
    caches = caches_of(client, instance_id)
    writer.verify(caches)
    has_all(caches)
    refused_back(client, instance_id)


def refused_with_another_database(server: Server, client: Any, instance_id: str) -> None:
    """A key in another database: the plan names it, and the request is refused."""
    with connected(client, instance_id, db=200) as other:
        other.set("key", "of another database")
        path = f"instances/{instance_id}/resize/plan"
        plan = server.call("POST", path, {"spec_code": spec(2)})[1]
        (blocker,) = plan["blockers"]
        assert (blocker["error_code"], "database 200 has 1 keys" in blocker["reason"]) == ("DCS.4102", True)
        with pytest.raises(ClientRequestException) as refused:
            change(client, instance_id, 2)
        assert (refused.value.status_code, refused.value.error_code) == (400, "DCS.4102")
        assert "database 200 has 1 keys" in refused.value.error_msg
        assert (show(client, instance_id).status, show(client, instance_id).spec_code) == ("RUNNING", SINGLE)
        other.delete("key")
        plan = server.call("POST", path, {"spec_code": spec(2)})[1]
        assert (plan["blockers"], plan["shards_after"], len(server.nodes())) == ([], 2, 1)
        assert "{expected_wait_ms:300}" in {sub["detail"] for step in plan["steps"] for sub in step["sub_steps"]}


def test_a_change_that_is_cancelled_after_its_cut_over_leaves_a_cluster(server: Server) -> None:
    """The slots that have not moved stay. The same request completes the change."""
    client = server.client()
    instance_id = created(client, 1, spec_code=SINGLE, capacity=1, name="cancelled")
    address = (show(client, instance_id).ip, show(client, instance_id).port)
    fill(client, instance_id)
    path = f"instances/{instance_id}"
    with Writer(client, instance_id) as writer:
        writer.wait_for(100)
        task_id = change(client, instance_id, 3)
        control = f"{path}/tasks/{task_id}/control"
        assert server.call("PUT", control, {"latency_ceiling_ms": 0.000001})[0] == 200, "no slot moves"
        until(lambda: is_held(client, instance_id, task_id), "the slots do not wait")
        assert sub_step(client, instance_id, task_id, "Cut-over.").sub_step_status == "FINISH"
        assert server.call("POST", f"{path}/resize/cancel/{task_id}")[0] == 200
        assert ended(client, instance_id, task_id).status == "FAILED"
        assert server.call("GET", f"tasks/{task_id}")[1]["task"]["error_code"] == "DCS.9005"
        shown = show(client, instance_id)
        assert (shown.status, shown.cache_mode, shown.ip, shown.port) == ("RUNNING", "cluster", *address)
        until(lambda: not server.call("GET", f"{path}/state")[1]["incidents"], "an incident is left")
        assert states(caches_of(client, instance_id)) == {"ok"}
        writer.wait_for(100)
        succeeded(server, client, instance_id, resize(client, instance_id, 3), spec(3))
        writer.wait_for(100)
    caches = caches_of(client, instance_id)
    writer.verify(caches)
    has_all(caches)
    assert server.call("DELETE", path)[0] in {200, 204}


def refused_back(client: Any, instance_id: str) -> None:
    for spec_code, capacity in ((SINGLE, 1), (HA, 1)):
        body = ResizeInstanceBody(spec_code=spec_code, new_capacity=capacity, change_type="instanceType")
        with pytest.raises(ClientRequestException) as refused:
            client.resize_instance(ResizeInstanceRequest(instance_id=instance_id, body=body))
        assert (refused.value.status_code, refused.value.error_code) == (400, "DCS.4102")


def fails_beside_a_client_of_another_database(server: Server, client: Any, instance_id: str) -> None:
    """The client leaves no key there, so that only the new node notices it. Primary, replica and sentinels serve as
    before."""
    finishing = threading.Event()

    def use() -> None:
        other = connected(client, instance_id, db=3)
        while not finishing.is_set():
            with suppress(*FAULTS):
                other.pipeline(transaction=True).set("key", 1).delete("key").execute()

    user = threading.Thread(target=use, daemon=True)
    user.start()
    try:
        task_id = change(client, instance_id, 1, 2)
        assert ended(client, instance_id, task_id).status == "FAILED"
    finally:
        finishing.set()
        user.join()
    assert server.call("GET", f"tasks/{task_id}")[1]["task"]["error_code"] == "DCS.4102"
    shown = show(client, instance_id)
    assert (shown.status, shown.spec_code) == ("RUNNING", HA)
    assert "another database" in sub_step(client, instance_id, task_id, "Cut-over.").detail
    until(lambda: in_sync(server, client, instance_id), "the replica is not in sync")
    path = f"instances/{instance_id}/state"
    until(lambda: not server.call("GET", path)[1]["incidents"], "an incident is left")


def test_a_primary_standby_instance_becomes_a_cluster_with_replicas(server: Server) -> None:
    client = server.client()
    instance_id = created(client, 1, spec_code=HA, capacity=1, name="pair")
    address = (show(client, instance_id).ip, show(client, instance_id).port)
    fill(client, instance_id)
    with Writer(client, instance_id) as writer:
        writer.wait_for(100)
        fails_beside_a_client_of_another_database(server, client, instance_id)
        writer.wait_for(100)
        task_id = change(client, instance_id, 1, 2)
        succeeded(server, client, instance_id, task_id, spec(1, copies=2))
        assert (show(client, instance_id).ip, show(client, instance_id).port) == address
        writer.wait_for(100)
    caches = caches_of(client, instance_id)
    writer.verify(caches)
    has_all(caches)
    detail = sub_step(client, instance_id, task_id, "Cut-over.").detail
    assert "writes_waited_ms:" in detail
    with pytest.raises(ResponseError):
        connected(client, instance_id, db=1).get("key")
    assert server.call("DELETE", f"instances/{instance_id}")[0] in {200, 204}
