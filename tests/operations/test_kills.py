"""The server is killed while it creates, deletes, checks or cancels; a port is taken from a node before its start."""

import socket
import sqlite3
import time
from contextlib import closing
from typing import Any

import psutil
import pytest
from huaweicloudsdkdcs.v2 import DeleteSingleInstanceRequest
from valkey.cluster import ValkeyCluster

from caches import cache, states
from cachewright.valkey.config import CLUSTER_NODE_TIMEOUT_MS
from sdk_calls import create, created, ended, gone, newest_task, progress, resize, show
from serving import Server, freeze, thaw, until


def begun(client: Any, instance_id: str, task_id: str) -> dict[str, str | None]:
    return {step.step_name: step.begin_time for step in progress(client, instance_id, task_id).step_details}


@pytest.mark.parametrize("step", ["Pre-check.", "Resource request.", "Cluster formation."])
def test_a_creation_goes_on_after_the_server_was_killed_in(own_server: Server, step: str) -> None:
    client = own_server.client()
    instance_id = create(client, 3, copies=2)
    task_id = newest_task(client, instance_id).id
    before = until(lambda: (seen := begun(client, instance_id, task_id)).get(step) and seen, f"{step} has not begun")
    own_server.kill()
    own_server.start()
    client = own_server.client()
    assert ended(client, instance_id, task_id).status == "SUCCESS"
    after = begun(client, instance_id, task_id)
    assert {name: after[name] for name, time in before.items() if time} == {n: t for n, t in before.items() if t}
    assert len(own_server.nodes()) == 6
    assert states(cache(client, instance_id)) == {"ok"}


def test_a_creation_goes_on_after_the_server_was_away_for_longer_than_nodes_wait_for_each_other(
    own_server: Server,
) -> None:
    client = own_server.client()
    instance_id = create(client, 3)
    task_id = newest_task(client, instance_id).id
    until(lambda: begun(client, instance_id, task_id).get("Resource request."), "no node is started")
    own_server.kill()
    time.sleep(CLUSTER_NODE_TIMEOUT_MS / 1000 + 1)
    own_server.start()
    assert ended(own_server.client(), instance_id, task_id).status == "SUCCESS"


def test_a_deletion_goes_on_after_the_server_was_killed_in_it(own_server: Server) -> None:
    client = own_server.client()
    instance_id = created(client, 3, copies=2)
    stuck = own_server.nodes()[-1]
    freeze(stuck)  # so that the deletion is not over before the server is killed
    client.delete_single_instance(DeleteSingleInstanceRequest(instance_id=instance_id))
    until(lambda: len(own_server.nodes()) < 6, "no node ends")
    own_server.kill()
    own_server.start()
    client = own_server.client()
    assert show(client, instance_id).status == "DELETING"
    thaw(stuck)
    until(lambda: gone(client, instance_id), "the instance is not gone")
    assert own_server.nodes() == []
    assert list((own_server.data_dir / "nodes").iterdir()) == []


def test_a_node_whose_port_is_taken_before_its_first_start_gets_another(own_server: Server) -> None:
    client = own_server.client()
    instance_id = created(client, 2, copies=2)
    before = {node.pid for node in own_server.nodes()}
    silent = a_replica(own_server, cache(client, instance_id))
    freeze(silent)  # the check before the first step waits for it, with the new nodes chosen
    try:
        task_id = resize(client, instance_id, 3, copies=2)
        ports = until(lambda: chosen_ports(own_server, instance_id)[8:], "no new node was chosen")
        with closing(socket.create_server(("127.0.0.1", ports[0]))):
            assert {node.pid for node in own_server.nodes()} == before, "the new nodes have started already"
            thaw(silent)
            assert ended(client, instance_id, task_id).status == "SUCCESS"
    finally:
        thaw(silent)
    assert len(own_server.nodes()) == 6
    assert ports[0] not in chosen_ports(own_server, instance_id)
    assert states(cache(client, instance_id)) == {"ok"}


def a_replica(server: Server, caches: ValkeyCluster) -> psutil.Process:
    replicas = [node["node_id"] for node in caches.cluster_nodes().values() if node["master_id"] != "-"]
    return next(node for node in server.nodes() if any(replicas[0] in word for word in node.info["cmdline"]))


def chosen_ports(server: Server, instance_id: str) -> list[int]:
    """Ports of the instance's nodes, for clients and for the bus, in the order in which the nodes were chosen."""
    with closing(sqlite3.connect(server.data_dir / "cachewright.db")) as database:
        rows = database.execute("SELECT port, bus_port FROM nodes WHERE instance_id=? ORDER BY rowid", [instance_id])
        return [port for row in rows for port in row]
