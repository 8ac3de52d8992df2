"""Clients that hold subscriptions or blocked commands on a node that leaves or restarts."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from huaweicloudsdkdcs.v2 import (
    ChangeInstanceStatusBody,
    ListGroupReplicationInfoRequest,
    RestartOrFlushInstancesRequest,
    ShowNodesInformationRequest,
)
from valkey import Valkey
from valkey.exceptions import ConnectionError as Unreachable
from valkey.exceptions import ResponseError

from caches import cache
from sdk_calls import PASSWORD, created, ended, newest_task, progress, resize, show
from serving import ROOMY, Server, until

Serving = Callable[[float], tuple[Server, Any]]


LONG = 300.0
"""A grace that no test waits for: the next server ends it."""


def with_grace(seconds: float) -> tuple[str, ...]:
    return (*ROOMY, "--client-grace-seconds", str(seconds))


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    """Start a server with this grace for clients."""
    servers: list[Server] = []

    def start(grace: float) -> tuple[Server, Any]:
        server = Server(tmp_path / "data", arguments=with_grace(grace))
        servers.append(server)
        server.start()
        return server, server.client()

    yield start
    for server in servers:
        server.clean_up()


def nodes(client: Any, instance_id: str) -> list[Any]:
    return list(client.show_nodes_information(ShowNodesInformationRequest(instance_id=instance_id)).nodes)


def port_of_last_shard(client: Any, instance_id: str) -> int:
    return int(max(nodes(client, instance_id), key=lambda node: str(node.group_name)).node_port)


def end_grace(server: Server) -> None:
    """Replace the server by one that waits for clients for a second alone."""
    server.kill()
    server.arguments = with_grace(1)
    server.start()


def subscribed(port: int) -> Any:
    subscriber = Valkey(port=port, password=PASSWORD, decode_responses=True).pubsub()
    subscriber.subscribe("news")
    assert message(subscriber)["type"] == "subscribe"
    return subscriber


def message(subscriber: Any) -> Any:
    return until(lambda: subscriber.get_message(timeout=1), "no message arrives")


def details(client: Any, instance_id: str, task_id: str, step_name: str) -> list[str]:
    steps = progress(client, instance_id, task_id).step_details
    return [sub.detail for step in steps if step.step_name == step_name for sub in step.sub_step_details]


def waiting(client: Any, instance_id: str, task_id: str, step_name: str = "Resource release.") -> list[str]:
    return [told for told in details(client, instance_id, task_id, step_name) if "waiting_for_clients" in told]


def test_a_leaving_node_waits_for_its_subscribers_and_so_does_the_next_server(serving: Serving) -> None:
    server, client = serving(LONG)
    instance_id = created(client, 3)
    subscriber = subscribed(port_of_last_shard(client, instance_id))
    blocked = Valkey(port=port_of_last_shard(client, instance_id), password=PASSWORD)
    blocked.connection_pool.get_connection("_").send_command("WAIT", 1, 0)
    task_id = resize(client, instance_id, 2)
    (told,) = until(lambda: waiting(client, instance_id, task_id), "the node does not wait")
    assert "waiting_for_clients:2" in told
    assert "subscribers:1" in told
    assert "blocked:1" in told
    assert progress(client, instance_id, task_id).remain_time != "0"
    server.kill()
    server.start()
    until(lambda: waiting(client, instance_id, task_id), "the node does not wait again")
    cache(client, instance_id).publish("news", "still here")
    assert message(subscriber)["data"] == "still here"
    end_grace(server)
    assert ended(client, instance_id, task_id).status == "SUCCESS"
    (told,) = details(client, instance_id, task_id, "Resource release.")
    assert "subscribers_cut:1" in told
    assert "blocked_cut:1" in told
    assert "connections of clients were cut: 1 blocked, 1 subscribers" in server.log()


def test_a_node_leaves_when_its_subscribers_and_stale_clients_have_left(serving: Serving) -> None:
    """A library that keeps its connection until it was redirected is redirected, however long it is silent."""
    server, client = serving(LONG)
    instance_id = created(client, 3)
    port = port_of_last_shard(client, instance_id)
    subscriber = subscribed(port)
    stale = Valkey(port=port, password=PASSWORD, lib_name="node-redis", single_connection_client=True)
    stale.ping()
    task_id = resize(client, instance_id, 2)
    (told,) = until(lambda: waiting(client, instance_id, task_id), "the node does not wait")
    assert "waiting_for_clients:2" in told
    assert "stale:1" in told
    time.sleep(1)  # longer than others may be silent
    with pytest.raises(ResponseError, match="MOVED"):
        stale.get("key")
    stale.close()
    subscriber.close()
    assert ended(client, instance_id, task_id).status == "SUCCESS"
    assert not any("cut" in told for told in details(client, instance_id, task_id, "Resource release."))
    assert "were cut" not in server.log()


def test_without_grace_subscribers_are_cut(serving: Serving) -> None:
    _, client = serving(0)
    instance_id = created(client, 3)
    subscriber = subscribed(port_of_last_shard(client, instance_id))
    assert ended(client, instance_id, resize(client, instance_id, 2)).status == "SUCCESS"
    with pytest.raises(Unreachable):
        until(lambda: subscriber.get_message(timeout=1), "the connection stays open")


def test_a_cancelled_release_leaves_a_node_that_accepts_clients(serving: Serving) -> None:
    server, client = serving(LONG)
    instance_id = created(client, 3)
    port = port_of_last_shard(client, instance_id)
    subscriber = subscribed(port)
    task_id = resize(client, instance_id, 2)
    until(lambda: waiting(client, instance_id, task_id), "the node does not wait")
    with pytest.raises(Unreachable):
        Valkey(port=port, password=PASSWORD).ping()
    assert server.call("POST", f"instances/{instance_id}/tasks/{task_id}/cancel")[0] == 200
    assert ended(client, instance_id, task_id).status == "FAILED"
    assert show(client, instance_id).status == "RUNNING"
    until(lambda: accepts(port), "the port stays closed")
    subscriber.close()
    assert ended(client, instance_id, resize(client, instance_id, 2)).status == "SUCCESS"
    assert len(nodes(client, instance_id)) == 2


def accepts(port: int) -> bool:
    try:
        with Valkey(port=port, password=PASSWORD) as node:
            return bool(node.ping())
    except Unreachable:
        return False


@pytest.mark.parametrize("copies", [1, 2])
def test_a_restart_waits_for_subscribers(serving: Serving, copies: int) -> None:
    server, client = serving(LONG)
    instance_id = created(client, 3, copies=copies)
    subscriber = subscribed(port_of_last_shard(client, instance_id))
    body = ChangeInstanceStatusBody(instances=[instance_id], action="restart")
    client.restart_or_flush_instances(RestartOrFlushInstancesRequest(body=body))
    task_id = str(newest_task(client, instance_id).id)
    until(lambda: waiting(client, instance_id, task_id, "Node restart."), "the node does not wait")
    cache(client, instance_id).publish("news", "still here")
    assert message(subscriber)["data"] == "still here"
    end_grace(server)
    assert ended(client, instance_id, task_id).status == "SUCCESS"
    assert any("subscribers_cut:1" in told for told in details(client, instance_id, task_id, "Node restart."))


def test_a_shard_never_shows_two_primaries(serving: Serving) -> None:
    """Neither while nodes join, leave or restart, nor while a replica takes over."""
    _, client = serving(0)
    instance_id = created(client, 3, copies=2)
    request = ListGroupReplicationInfoRequest(instance_id=instance_id)
    reads = wrong = 0
    for change in (5, 3, None):
        if change:
            task_id = resize(client, instance_id, change, copies=2)
        else:
            body = ChangeInstanceStatusBody(instances=[instance_id], action="restart")
            client.restart_or_flush_instances(RestartOrFlushInstancesRequest(body=body))
            task_id = str(newest_task(client, instance_id).id)
        while newest_task(client, instance_id).status not in {"SUCCESS", "FAILED"}:
            groups = client.list_group_replication_info(request).group_list
            roles = [sorted(node.replication_role for node in group.replication_list) for group in groups]
            reads += 1
            wrong += any(role not in (["master", "slave"], ["master"], ["slave"]) for role in roles)
            time.sleep(0.02)  # a key may send 200 requests a second
        assert ended(client, instance_id, task_id).status == "SUCCESS"
    assert reads > 20
    assert wrong == 0
