"""Nodes with damaged or lost files, on a real cluster: they are repaired by tasks that the server starts by itself."""

import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import psutil
import pytest
from huaweicloudsdkdcs.v2 import ListBackgroundTaskRequest, ListGroupReplicationInfoRequest

from caches import cache, load, present, serves
from cachewright.config import Settings
from cachewright.model.incidents import Incident
from cachewright.store import incidents
from cachewright.store.opening import open_in_use
from sdk_calls import created, ended, newest_task, show, spec
from serving import Server, until

KEYS = 5000
COPIES = 2


class Replicated(NamedTuple):
    server: Server
    instance_id: str

    @property
    def client(self) -> Any:
        return self.server.client()

    def node(self, role: str) -> str:
        """Id of a node with this role in the first shard."""
        answer = self.client.list_group_replication_info(ListGroupReplicationInfoRequest(instance_id=self.instance_id))
        nodes = answer.group_list[0].replication_list
        return str(next(node.node_id for node in nodes if node.replication_role == role))

    def folder(self, node_id: str) -> Path:
        return self.server.data_dir / "nodes" / node_id

    def state(self) -> Any:
        return self.server.call("GET", f"instances/{self.instance_id}/state")[1]

    def repaired(self, before: str) -> Any:
        """The task that the server has started since the task `before`, once it has ended."""

        def started() -> Any:
            task = newest_task(self.client, self.instance_id)
            return task if task.id != before else None

        task = until(started, "no repair is started", 90)
        assert (task.name, task.user_name) == ("RebuildNode", "system")
        return ended(self.client, self.instance_id, task.id, seconds=120)

    def require_whole(self) -> None:
        until(lambda: self.state()["incidents"] == [], "the incident does not end")
        until(lambda: show(self.client, self.instance_id).status == "RUNNING", "the instance is not RUNNING")
        until(lambda: serves(self.client, self.instance_id), "the cluster does not serve")
        assert present(cache(self.client, self.instance_id), KEYS) == KEYS
        nodes = cache(self.client, self.instance_id).cluster_nodes().values()
        assert sorted(node["flags"].split(",")[-1] for node in nodes) == ["master", "master", "slave", "slave"]


@pytest.fixture(scope="module")
def replicated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicated]:
    server = Server(tmp_path_factory.mktemp("rebuild") / "data")
    try:
        server.start()
        made = Replicated(server, created(server.client(), 2, copies=COPIES))
        caches = cache(made.client, made.instance_id)
        load(caches, KEYS)
        for node in caches.get_primaries():
            assert caches.wait(1, 10_000, target_nodes=node) == 1
        yield made
    finally:
        server.clean_up()


def process_of(server: Server, node_id: str) -> psutil.Process:
    return next(node for node in server.nodes() if any(node_id in word for word in node.info["cmdline"]))


def damage_data(folder: Path) -> None:
    for file in (folder / "appendonlydir").glob("*.aof"):
        file.write_bytes(b"this is no append-only file\n" * 10)


def test_a_replica_with_damaged_data_is_rebuilt_while_the_instance_serves(replicated: Replicated) -> None:
    server, client, instance_id = replicated.server, replicated.client, replicated.instance_id
    node_id, before = replicated.node("slave"), newest_task(client, instance_id).id
    damage_data(replicated.folder(node_id))
    process_of(server, node_id).kill()
    (incident,) = until(lambda: replicated.state()["incidents"], "there is no incident")
    assert (incident["kind"], incident["error_code"]) == ("broken_node", "DCS.9001")
    assert node_id in incident["detail"]
    assert "its append-only file is damaged" in incident["detail"]
    assert show(client, instance_id).status == "RUNNING", "the other node of the shard serves"
    assert replicated.repaired(before).status == "SUCCESS"
    replicated.require_whole()
    assert list((replicated.folder(node_id) / "damaged" / "appendonlydir").iterdir()), "the damaged files are kept"


def test_a_primary_with_damaged_data_is_replaced_and_rebuilt_though_the_server_is_killed(
    replicated: Replicated,
) -> None:
    """Two shards have too few primaries left for an election."""
    server, client, instance_id = replicated.server, replicated.client, replicated.instance_id
    node_id, before = replicated.node("master"), newest_task(client, instance_id).id
    damage_data(replicated.folder(node_id))
    process_of(server, node_id).kill()
    until(lambda: newest_task(client, instance_id).id != before, "no repair is started", 90)
    server.kill()
    server.start()
    assert replicated.repaired(before).status == "SUCCESS"
    assert replicated.node("slave") == node_id
    replicated.require_whole()


def test_a_primary_with_a_damaged_nodes_conf_keeps_its_data(replicated: Replicated) -> None:
    server, client, instance_id = replicated.server, replicated.client, replicated.instance_id
    node_id, before = replicated.node("master"), newest_task(client, instance_id).id
    (replicated.folder(node_id) / "nodes.conf").write_text("this is no nodes.conf\n")
    process_of(server, node_id).kill()
    assert replicated.repaired(before).status == "SUCCESS"
    replicated.require_whole()


def test_a_node_without_its_folder_is_rebuilt(replicated: Replicated) -> None:
    server, client, instance_id = replicated.server, replicated.client, replicated.instance_id
    node_id, before = replicated.node("slave"), newest_task(client, instance_id).id
    process = process_of(server, node_id)
    shutil.rmtree(replicated.folder(node_id))
    process.kill()
    assert replicated.repaired(before).status == "SUCCESS"
    replicated.require_whole()


def test_a_primary_without_its_data_is_not_started_empty(replicated: Replicated) -> None:
    """Its replicas would delete their keys. Its configuration is there, so nothing but the check keeps it down."""
    server, client, instance_id = replicated.server, replicated.client, replicated.instance_id
    node_id, before = replicated.node("master"), newest_task(client, instance_id).id
    process = process_of(server, node_id)
    process.suspend()  # it cannot write while its files disappear
    shutil.rmtree(replicated.folder(node_id) / "appendonlydir")
    process.kill()
    assert replicated.repaired(before).status == "SUCCESS"
    assert replicated.node("slave") == node_id
    replicated.require_whole()


def test_a_replica_is_rebuilt_by_request_and_a_primary_is_not(replicated: Replicated) -> None:
    path = f"instances/{replicated.instance_id}/nodes"
    status, answer = replicated.server.call("POST", f"{path}/{replicated.node('master')}/rebuild")
    assert (status, answer["error_code"]) == (400, "DCS.4931")
    status, answer = replicated.server.call("POST", f"{path}/{'0' * 40}/rebuild")
    assert (status, answer["error_code"]) == (400, "DCS.3053")
    node_id = replicated.node("slave")
    before = process_of(replicated.server, node_id).pid
    status, answer = replicated.server.call("POST", f"{path}/{node_id}/rebuild")
    assert status == 200
    assert ended(replicated.client, replicated.instance_id, answer["job_id"]).status == "SUCCESS"
    assert process_of(replicated.server, node_id).pid != before
    replicated.require_whole()


def test_a_plan_shows_the_broken_node_for_which_a_resize_is_refused(replicated: Replicated) -> None:
    """The incident is stored by this test: a repair may be faster than a request."""
    server, instance_id = replicated.server, replicated.instance_id
    incident = Incident(
        id="a" * 32,
        instance_id=instance_id,
        project_id=server.credentials["project_id"],
        kind="broken_node",
        error_code="DCS.9001",
        detail="node x: its append-only file is damaged",
        began_at=1,
    )
    larger = {"spec_code": spec(3, copies=COPIES), "new_capacity": 3}
    with closing(open_in_use(Settings(data_dir=server.data_dir))) as database:
        with database.write() as connection:
            incidents.begin(connection, incident)
        status, plan = server.call("POST", f"instances/{instance_id}/resize/plan", larger)
        refused, answer = server.call("POST", f"instances/{instance_id}/resize", larger)
        with database.write() as connection:
            incidents.end(connection, msgspec.structs.replace(incident, ended_at=2))
    assert (status, plan["blockers"]) == (200, [{"error_code": "DCS.4104", "reason": incident.detail}])
    assert (refused, answer["error_code"]) == (400, "DCS.4104")
    assert incident.detail in answer["error_msg"]
    assert server.call("POST", f"instances/{instance_id}/resize/plan", larger)[1]["blockers"] == []


def test_data_that_only_a_damaged_node_has_is_left_alone(replicated: Replicated) -> None:
    """The instance says what is wrong and what to do; every refusal repeats it."""
    server, client = replicated.server, replicated.client
    instance_id = created(client, 1, name="lone")
    cache(client, instance_id).set("a", "1")
    (node,) = server.call("GET", f"instances/{instance_id}/logical-nodes")[1]["nodes"]
    node_id = node["node_id"]
    (file,) = (replicated.folder(node_id) / "appendonlydir").glob("*.incr.aof")
    whole = file.read_bytes()
    file.write_bytes(b"damaged " + whole)
    process_of(server, node_id).kill()
    until(lambda: show(client, instance_id).status == "ERROR", "the instance does not say so")
    status, answer = server.call("POST", f"instances/{instance_id}/resize", {"spec_code": spec(2), "new_capacity": 2})
    assert (status, answer["error_code"]) == (400, "DCS.4049")
    assert node_id in answer["error_msg"]
    assert "its append-only file is damaged" in answer["error_msg"]
    assert "valkey-check-aof" in answer["error_msg"]
    status, answer = server.call("POST", f"instances/{instance_id}/resize/plan", {"spec_code": spec(2)})
    assert (status, answer["error_code"]) == (400, "DCS.4049")
    assert node_id in answer["error_msg"]
    status, answer = server.call("POST", f"instances/{instance_id}/nodes/{node_id}/rebuild")
    assert (status, answer["error_code"]) == (400, "DCS.4027")
    tasks = client.list_background_task(ListBackgroundTaskRequest(instance_id=instance_id)).tasks
    assert [task.name for task in tasks] == ["CreateInstance"]
    file.write_bytes(whole)
    until(lambda: show(client, instance_id).status == "RUNNING", "the instance does not come back", 90)
    until(lambda: serves(client, instance_id), "the cluster does not serve")
    assert cache(client, instance_id).get("a") == b"1"
