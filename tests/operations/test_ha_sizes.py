"""Replicas of primary/standby instances come and go, and single instances become such instances and the reverse, while
clients write and processes are killed."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from huaweicloudsdkdcs.v2 import (
    ResizeInstanceBody,
    ResizeInstanceRequest,
    ValidateDeletableReplicaRequest,
)
from test_ha import (
    Writer,
    ask_sentinels,
    code,
    connected,
    in_sync,
    needs_haproxy,
    primary,
    process_of,
    roles,
    sentinels,
)
from valkey import Valkey

from caches import FAULTS
from sdk_calls import created, ended, newest_task, progress, show
from serving import ROOMY, Server, until

SINGLE = "redis.single.xu1.large.1"
KEYS = 30_000


def change(client: Any, instance_id: str, spec_code: str, change_type: str, **fields: Any) -> str:
    """Start a change of the number of replicas or of the type. Return the id of its task."""
    body = ResizeInstanceBody(spec_code=spec_code, new_capacity=1, change_type=change_type, **fields)
    client.resize_instance(ResizeInstanceRequest(instance_id=instance_id, body=body))
    return str(newest_task(client, instance_id).id)


def restarted(server: Server) -> Any:
    """Kill the server, start it again, and return a client."""
    server.kill()
    server.start()
    return server.client()


def succeeded(server: Server, client: Any, instance_id: str, task_id: str, copies: int) -> None:
    """Require that the task succeeds, and that primary, replicas, sentinels and the API agree."""
    assert ended(client, instance_id, task_id).status == "SUCCESS", server.call("GET", f"tasks/{task_id}")
    assert len(roles(client, instance_id)) == copies
    until(lambda: in_sync(server, client, instance_id), "not in sync")
    shown = show(client, instance_id)
    assert (shown.status, shown.replica_count, shown.cache_mode) == (
        "RUNNING",
        copies,
        "ha" if copies > 1 else "single",
    )
    running = [process for process in server.nodes() if "valkey.conf" in " ".join(process.info["cmdline"])]
    assert len(running) == len(list((server.data_dir / "nodes").glob("*/valkey.conf"))) == copies


@contextmanager
def kept_open(client: Any, instance_id: str) -> Iterator[None]:
    """Require that a connection through the proxy stays open meanwhile."""
    with connected(client, instance_id, single_connection_client=True) as held:
        number = held.client_id()
        yield
        assert held.client_id() == number, "the connection was closed"


def load(node: Valkey) -> None:
    for start in range(0, KEYS, 2000):
        node.mset({f"key:{number}": "x" * 200 for number in range(start, start + 2000)})


def present(node: Valkey) -> int:
    return sum(
        node.exists(*(f"key:{number}" for number in range(start, start + 2000))) for start in range(0, KEYS, 2000)
    )


@needs_haproxy
def test_type_and_replicas_change_under_writes_while_processes_are_killed(own_server: Server) -> None:
    client = own_server.client()
    instance_id = created(client, 1, spec_code=SINGLE, capacity=1)
    address = (show(client, instance_id).ip, show(client, instance_id).port)
    load(connected(client, instance_id))
    with connected(client, instance_id, db=200) as other:
        other.set("key", "of another database")
    with Writer(client, instance_id) as writer:
        for phase in (gets_failover, gets_a_replica, keeps_its_replicas, loses_its_primary, becomes_single):
            writer.wait_for(100)
            phase(own_server, instance_id)
            client = own_server.client()
            assert (show(client, instance_id).ip, show(client, instance_id).port) == address
        writer.wait_for(100)
    node = connected(client, instance_id)
    assert (writer.lost(node), present(node)) == ([], KEYS)
    with connected(client, instance_id, db=200) as other:
        assert other.get("key") == "of another database"
    process_of(own_server, primary(client, instance_id)).kill()  # it starts with the files of its present type
    until(lambda: answers(client, instance_id), "the node does not serve after a kill")
    assert present(connected(client, instance_id)) == KEYS


def gets_failover(server: Server, instance_id: str) -> None:
    """A single instance becomes `ha`. The server is killed as soon as the node has another port."""
    client = server.client()
    former = str(show(client, instance_id).port)
    task_id = change(client, instance_id, code(1), "instanceType")
    until(lambda: former not in ports(server), "the node keeps its port")
    client = restarted(server)
    succeeded(server, client, instance_id, task_id, 2)


def gets_a_replica(server: Server, instance_id: str) -> None:
    """Connections through the proxy stay open, also when the new node and the server are killed."""
    client = server.client()
    before = set(roles(client, instance_id))
    with kept_open(client, instance_id):
        task_id = change(client, instance_id, code(1, 3), "createReplication")
        (joining,) = until(lambda: set(roles(client, instance_id)) - before, "no node is added")
        until(
            lambda: any(joining in " ".join(one.info["cmdline"]) for one in server.nodes()), "the node does not start"
        )
        process_of(server, joining).kill()
        client = restarted(server)
        succeeded(server, client, instance_id, task_id, 3)
    shown = client.validate_deletable_replica(ValidateDeletableReplicaRequest(instance_id=instance_id))
    assert (shown.check_result, len(shown.replication_list)) == (True, 2)


def keeps_its_replicas(server: Server, instance_id: str) -> None:
    """A cancelled addition leaves what was there."""
    client = server.client()
    task_id = change(client, instance_id, code(1, 4), "createReplication")
    server.call("POST", f"instances/{instance_id}/resize/cancel/{task_id}")
    if ended(client, instance_id, task_id).status == "SUCCESS":  # it was faster
        task_id = change(client, instance_id, code(1, 3), "deleteReplication")
        assert ended(client, instance_id, task_id).status == "SUCCESS"
    until(lambda: len(roles(client, instance_id)) == 3, "the new replica is left")
    until(lambda: show(client, instance_id).status == "RUNNING", "the instance is not RUNNING")


def loses_its_primary(server: Server, instance_id: str) -> None:
    """The primary leaves by name, and the server is killed when another node has taken over."""
    client = server.client()
    lead = primary(client, instance_id)
    task_id = change(client, instance_id, code(1), "deleteReplication", node_list=[lead])
    until(lambda: roles(client, instance_id).get(lead) != "master", "no replica takes over")
    client = restarted(server)
    succeeded(server, client, instance_id, task_id, 2)
    assert lead not in roles(client, instance_id)
    until(lambda: replicas_of_sentinels(server) == {1}, "a sentinel knows the node that has left")
    assert ask_sentinels(server, instance_id)


def becomes_single(server: Server, instance_id: str) -> None:
    """The server is killed as soon as one node is left."""
    client = server.client()
    task_id = change(client, instance_id, SINGLE, "instanceType")
    until(lambda: len(roles(client, instance_id)) == 1, "the replica stays")
    client = restarted(server)
    succeeded(server, client, instance_id, task_id, 1)
    names = {step.step_name for step in progress(client, instance_id, task_id).step_details}
    assert {"Replica removal.", "End of failover."} <= names
    until(lambda: not sentinels(server), "sentinels are left")


def test_a_node_keeps_its_address_if_haproxy_does_not_start(tmp_path: Path) -> None:
    server = Server(tmp_path / "data", arguments=(*ROOMY, "--haproxy", "/bin/false"))
    try:
        server.start()
        client = server.client()
        instance_id = created(client, 1, spec_code=SINGLE, capacity=1)
        node = connected(client, instance_id)
        task_id = change(client, instance_id, code(1), "instanceType")
        assert ended(client, instance_id, task_id).status == "FAILED"
        assert server.call("GET", f"tasks/{task_id}")[1]["task"]["error_code"] == "DCS.9001"
        shown = show(client, instance_id)
        assert (shown.status, shown.spec_code, len(server.nodes())) == ("RUNNING", SINGLE, 1)
        assert node.set("key", "value")
    finally:
        server.clean_up()


def ports(server: Server) -> list[str]:
    """Ports that the nodes have by their files."""
    return [
        line.partition(" ")[2]
        for conf in (server.data_dir / "nodes").glob("*/valkey.conf")
        for line in conf.read_text().splitlines()
        if line.startswith("port ")
    ]


def replicas_of_sentinels(server: Server) -> set[int]:
    """Numbers of replicas that the sentinels know, by their own files."""
    files = (server.data_dir / "sentinels").glob("*/sentinel.conf")
    return {file.read_text().count("sentinel known-replica") for file in files}


def answers(client: Any, instance_id: str) -> bool:
    try:
        return bool(connected(client, instance_id).ping())
    except FAULTS:
        return False
