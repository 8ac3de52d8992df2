"""Primary/standby instances with real sentinels and, where it is installed, a real HAProxy."""

import shutil
import socket
import sqlite3
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest
from huaweicloudsdkcore.exceptions.exceptions import ClientRequestException
from huaweicloudsdkdcs.v2 import (
    ChangeInstanceStatusBody,
    ChangeMasterStandbyRequest,
    DeleteSingleInstanceRequest,
    ListGroupReplicationInfoRequest,
    ListInstancesRequest,
    ResizeInstanceBody,
    ResizeInstanceRequest,
    RestartOrFlushInstancesRequest,
    ShowInstanceTopologyRequest,
    ShowNodesInformationRequest,
)
from valkey import Valkey
from valkey.exceptions import NoPermissionError

from caches import FAULTS, operator_of
from cachewright.hosts.programs import find_haproxy
from sdk_calls import PASSWORD, create, created, ended, gone, newest_task, progress, show
from serving import ROOMY, Server, freeze, thaw, until

MB = 1024 * 1024
NO_HAPROXY = "HAPROXY IS NOT TESTED: it is not installed (apt-get install haproxy)"
needs_haproxy = pytest.mark.skipif(find_haproxy() is None, reason=NO_HAPROXY)


def code(gigabytes: int, copies: int = 2) -> str:
    return f"redis.ha.xu1.large.r{copies}.{gigabytes}"


def created_ha(client: Any, copies: int = 2, **changed: Any) -> str:
    """Id of an instance of 1 GB that is RUNNING."""
    return created(client, 1, spec_code=code(1, copies), capacity=1, **changed)


def connected(client: Any, instance_id: str, **options: Any) -> Valkey:
    shown = show(client, instance_id)
    return Valkey(
        host=shown.ip, port=shown.port, password=PASSWORD, decode_responses=True, socket_timeout=10, **options
    )


def restart(client: Any, instance_id: str) -> str:
    body = ChangeInstanceStatusBody(instances=[instance_id], action="restart")
    client.restart_or_flush_instances(RestartOrFlushInstancesRequest(body=body))
    return str(newest_task(client, instance_id).id)


def resize(client: Any, instance_id: str, spec_code: str, capacity: int) -> None:
    body = ResizeInstanceBody(spec_code=spec_code, new_capacity=capacity)
    client.resize_instance(ResizeInstanceRequest(instance_id=instance_id, body=body))


def roles(client: Any, instance_id: str) -> dict[str, str]:
    """Role of each node by its id, as the API shows it."""
    nodes = client.show_nodes_information(ShowNodesInformationRequest(instance_id=instance_id)).nodes
    return {node.node_id: node.node_type for node in nodes}


def primary(client: Any, instance_id: str) -> str:
    (found,) = [node_id for node_id, role in roles(client, instance_id).items() if role == "master"]
    return found


def process_of(server: Server, name: str) -> psutil.Process:
    """The process whose command line contains `name`: the id of a node or of an instance."""
    return next(process for process in server.nodes() if any(name in word for word in process.info["cmdline"]))


def sentinels(server: Server) -> list[psutil.Process]:
    return [process for process in server.nodes() if "--sentinel" in process.info["cmdline"]]


def in_sync(server: Server, client: Any, instance_id: str) -> bool:
    """Whether exactly one node is a primary, and the others are connected to it."""
    reported = []
    for node in client.show_nodes_information(ShowNodesInformationRequest(instance_id=instance_id)).nodes:
        try:
            with operator_of(server, node.node_ip, int(node.node_port)) as operator:
                reported.append(operator.info("replication"))
        except FAULTS:
            return False
    leads = [said for said in reported if said["role"] == "master"]
    replicas = [said for said in reported if said["role"] == "slave" and said["master_link_status"] == "up"]
    return len(leads) == 1 and len(replicas) == len(reported) - 1


class Writer(threading.Thread):
    """Writes a new key again and again over one address, and records which writes were acknowledged and when."""

    def __init__(self, client: Any, instance_id: str) -> None:
        super().__init__()
        self._node = connected(client, instance_id)
        self._finishing = threading.Event()
        self.acknowledged: list[int] = []
        self.longest_wait = 0.0

    def __enter__(self) -> "Writer":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._finishing.set()
        self.join()

    def run(self) -> None:
        number, last = 0, time.monotonic()
        while not self._finishing.is_set():
            number += 1
            try:
                is_safe = self.write(self._node, number)
            except FAULTS:
                time.sleep(0.01)
                continue
            if is_safe:
                self.acknowledged.append(number)
                self.longest_wait, last = max(self.longest_wait, time.monotonic() - last), time.monotonic()

    def write(self, node: Valkey, number: int) -> bool:
        """Write a key. Return whether it must not be lost."""
        node.set(f"written:{number}", number)
        return True

    def wait_for(self, writes: int) -> None:
        """Return when so many more writes have been acknowledged."""
        before = len(self.acknowledged)
        until(lambda: len(self.acknowledged) >= before + writes, "nothing is written")

    def lost(self, node: Valkey) -> list[int]:
        found = node.mget([f"written:{number}" for number in self.acknowledged])
        return [number for number, value in zip(self.acknowledged, found, strict=True) if value != str(number)]


@needs_haproxy
def test_an_ha_instance_from_its_creation_to_its_end(own_server: Server) -> None:
    client = own_server.client()
    instance_id = created_ha(client, name="pair")
    shown = show(client, instance_id)
    assert (shown.cache_mode, shown.spec_code, shown.capacity, shown.max_memory) == ("ha", code(1), 1, 1024)
    assert (shown.replica_count, shown.sharding_count, shown.db_number) == (2, 1, 256)
    assert str(shown.port) not in {address.rpartition(":")[2] for address in shown.backend_addrs.split(",")}
    (listed,) = client.list_instances(ListInstancesRequest()).instances
    assert (listed.spec_code, listed.port) == (code(1), shown.port)
    steps = [step.step_name for step in progress(client, instance_id, newest_task(client, instance_id).id).step_details]
    assert steps == ["Pre-check.", "Resource request.", "Replication.", "Failover.", "Post-check."]
    assert sorted(roles(client, instance_id).values()) == ["master", "slave"]
    (group,) = client.list_group_replication_info(ListGroupReplicationInfoRequest(instance_id=instance_id)).group_list
    assert {node.status for node in group.replication_list} == {"Active"}
    servers = client.show_instance_topology(ShowInstanceTopologyRequest(instance_id=instance_id)).redis_server
    (lead,) = [server for server in servers if server.node_type == "master"]
    (replica,) = [server for server in servers if server.node_type == "slave"]
    assert (replica.relation_ip, replica.relation_port) == (lead.ip, lead.port)
    _, state = own_server.call("GET", f"instances/{instance_id}/state")
    assert (state["cluster_state"], [len(shard["nodes"]) for shard in state["shards"]]) == ("ok", [2])
    require_secrets_are_kept(own_server, client, instance_id)

    # a restart under writes: a replica takes over, no acknowledged write is lost, and the address stays
    before = primary(client, instance_id)
    pids = {process.pid for process in own_server.nodes() if "valkey.conf" in " ".join(process.info["cmdline"])}
    with Writer(client, instance_id) as writer:
        writer.wait_for(100)
        task_id = restart(client, instance_id)
        assert ended(client, instance_id, task_id).status == "SUCCESS", own_server.call("GET", f"tasks/{task_id}")
        writer.wait_for(100)
        lead = primary(client, instance_id)
        client.change_master_standby(ChangeMasterStandbyRequest(instance_id=instance_id))
        assert ended(client, instance_id, newest_task(client, instance_id).id).status == "SUCCESS"
        assert primary(client, instance_id) != lead != before
        writer.wait_for(100)
    assert writer.lost(connected(client, instance_id)) == []
    assert show(client, instance_id).port == shown.port
    assert pids.isdisjoint(process.pid for process in own_server.nodes())

    resize(client, instance_id, code(2), 2)
    assert ended(client, instance_id, newest_task(client, instance_id).id).status == "SUCCESS"
    for told in client.show_nodes_information(ShowNodesInformationRequest(instance_id=instance_id)).nodes:
        with operator_of(own_server, told.node_ip, int(told.node_port)) as operator:
            assert int(operator.config_get("maxmemory")["maxmemory"]) == 2048 * MB
    for spec_code, capacity in ((code(4, 3), 4), ("redis.single.xu1.large.1", 1), ("redis.ha.au1.large.r2.4", 4)):
        with pytest.raises(ClientRequestException) as refused:
            resize(client, instance_id, spec_code, capacity)
        assert refused.value.error_code == "DCS.4102"

    metrics = own_server.metrics()
    assert "cachewright_sentinels_up 3.0" in metrics
    assert "cachewright_proxies_up 1.0" in metrics

    client.delete_single_instance(DeleteSingleInstanceRequest(instance_id=instance_id))
    until(lambda: gone(client, instance_id), "the instance is not gone")
    until(lambda: not own_server.nodes(), "sentinels are left without an instance")
    until(lambda: not left(own_server.data_dir), "files are left")


def require_secrets_are_kept(server: Server, client: Any, instance_id: str) -> None:
    """Files with secrets are for their owner alone, and clients may not change roles."""
    data = server.data_dir
    files = [
        *data.glob("sentinels/*/sentinel.conf"),
        *data.glob("proxies/*/haproxy.cfg"),
        *data.glob("nodes/*/*.conf*"),
    ]
    assert len(files) >= 6
    assert len([file for file in files if file.name == "valkey.conf.written"]) == len(roles(client, instance_id))
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert not any(PASSWORD in file.read_text() for file in files)
    node = connected(client, instance_id)
    for command in (("REPLICAOF", "NO", "ONE"), ("FAILOVER",), ("CONFIG", "REWRITE")):
        with pytest.raises(NoPermissionError):
            node.execute_command(*command)
    with connected(client, instance_id, db=255) as last:
        assert last.set("key", "of the last database")


def left(data_dir: Path) -> list[Path]:
    """Folders of processes that are left."""
    return [folder for part in ("nodes", "proxies", "sentinels") for folder in (data_dir / part).iterdir()]


@needs_haproxy
def test_an_ha_instance_recovers_from_kills_under_writes(own_server: Server) -> None:
    client = own_server.client()
    instance_id = created_ha(client)
    shown = show(client, instance_id)
    with Writer(client, instance_id) as writer:
        writer.wait_for(50)
        for victim in ("replica", "proxy", "sentinel", "primary"):
            lead = primary(client, instance_id)
            other = next(node_id for node_id in roles(client, instance_id) if node_id != lead)
            name = {"replica": other, "proxy": instance_id, "primary": lead}.get(victim)
            process = process_of(own_server, name) if name else sentinels(own_server)[0]
            process.kill()
            until(lambda: len(own_server.nodes()) == 6, f"{victim} is not started again")
            until(lambda: in_sync(own_server, client, instance_id), f"not in sync after the kill of {victim}")
            writer.wait_for(50)

        # a primary that stops answering is replaced, and is a replica when it wakes up
        frozen = primary(client, instance_id)
        process = process_of(own_server, frozen)
        freeze(process)
        try:
            until(lambda: primary(client, instance_id) != frozen, "no replica takes over")
            writer.wait_for(50)
        finally:
            thaw(process)
        until(lambda: in_sync(own_server, client, instance_id), "the old primary does not follow the new one")
        until(lambda: recorded_primary(own_server, instance_id) != frozen, "the record does not follow the failover")

        # the server and a node die in mid-restart
        task_id = restart(client, instance_id)
        writer.wait_for(20)
        process_of(own_server, primary(client, instance_id)).kill()
        own_server.kill()
        own_server.start()
        client = own_server.client()
        assert ended(client, instance_id, task_id).status == "SUCCESS", own_server.call("GET", f"tasks/{task_id}")
        until(lambda: in_sync(own_server, client, instance_id), "not in sync after the restart")
        writer.wait_for(50)
    assert show(client, instance_id).port == shown.port
    until(lambda: show(client, instance_id).status == "RUNNING", "the instance is not RUNNING")

    # the machine restarts: every process has died, and one sentinel has lost its file
    connected(client, instance_id).set("before", "restart")
    own_server.kill()
    for process in own_server.nodes():
        process.kill()
    damaged, unfinished, _ = own_server.data_dir.glob("sentinels/*/sentinel.conf")
    damaged.write_text("port 1\n")
    kept = [line for line in unfinished.read_text().splitlines() if not line.startswith("sentinel auth-")]
    unfinished.write_text("\n".join([*kept, ""]))  # as after a kill between two commands
    own_server.start()
    client = own_server.client()
    until(lambda: in_sync(own_server, client, instance_id), "not in sync after a restart of the machine")
    until(lambda: reached(client, instance_id), "the address does not lead to the primary")
    assert connected(client, instance_id).get("before") == "restart"
    until(lambda: instance_id in damaged.read_text(), "the damaged sentinel does not watch the instance again")
    until(lambda: f"auth-pass {instance_id}" in unfinished.read_text(), "a sentinel still lacks its password")
    require_repair_of_primary(own_server, client, instance_id)


def require_repair_of_primary(server: Server, client: Any, instance_id: str) -> None:
    """The primary dies, and its data is lost: another node takes over, and a task repairs the node."""
    lead = primary(client, instance_id)
    process = process_of(server, lead)
    process.suspend()  # it cannot write while its files disappear
    shutil.rmtree(server.data_dir / "nodes" / lead / "appendonlydir")
    process.kill()
    until(lambda: newest_task(client, instance_id).name == "RebuildNode", "no repair is started")
    assert ended(client, instance_id, newest_task(client, instance_id).id).status == "SUCCESS"
    until(lambda: in_sync(server, client, instance_id), "the repaired node is not in sync")
    assert primary(client, instance_id) != lead
    assert connected(client, instance_id).get("before") == "restart", "what was written long before"


def reached(client: Any, instance_id: str) -> bool:
    try:
        return bool(connected(client, instance_id).set("reached", 1))
    except FAULTS:
        return False


def recorded_primary(server: Server, instance_id: str) -> str:
    """Id of the recorded primary."""
    query = "SELECT id FROM nodes WHERE instance_id = ? AND role = 'primary'"
    with closing(sqlite3.connect(server.data_dir / "cachewright.db")) as database:
        ((lead,),) = database.execute(query, (instance_id,)).fetchall()
    return str(lead)


@pytest.fixture
def server_without_haproxy(tmp_path: Path) -> Iterator[Server]:
    started = Server(tmp_path / "data", arguments=(*ROOMY, "--haproxy", "off"))
    try:
        started.start()
        yield started
    finally:
        started.clean_up()


def ask_sentinels(server: Server, instance_id: str) -> int:
    """Port of the primary, as sentinels say to a client of the instance, who may not list instances."""
    status, body = server.call("GET", f"instances/{instance_id}/sentinels")
    assert (status, body["name"], len(body["sentinels"])) == (200, instance_id, 3)
    ports = set()
    for place in body["sentinels"]:
        options = {"username": body["username"], "password": PASSWORD, "decode_responses": True}
        with Valkey(host=place["ip"], port=place["port"], **options) as sentinel:
            _, port = sentinel.execute_command("SENTINEL", "GET-PRIMARY-ADDR-BY-NAME", instance_id)
            ports.add(int(port))
            for denied in (("SENTINEL", "PRIMARIES"), ("SENTINEL", "REMOVE", instance_id), ("ACL", "LIST")):
                with pytest.raises(NoPermissionError):
                    sentinel.execute_command(*denied)
    return ports.pop() if len(ports) == 1 else 0


def test_without_haproxy_the_address_is_that_of_the_primary(server_without_haproxy: Server) -> None:
    server = server_without_haproxy
    client = server.client()
    with socket.create_server(("127.0.0.1", 0)) as other:  # the instance gets another address with this port
        port = other.getsockname()[1]
        instance_id = create(client, 1, spec_code=code(1, 3), capacity=1, port=port)
    assert show(client, instance_id).ip != "127.0.0.1"
    assert show(client, instance_id).port == port
    until(server.nodes, "no node is started")
    server.kill()  # in the middle of the creation
    server.start()
    client = server.client()
    assert ended(client, instance_id, newest_task(client, instance_id).id).status == "SUCCESS"
    connected(client, instance_id).set("key", "value")
    assert connected(client, instance_id).wait(2, 10_000) == 2

    assert ended(client, instance_id, restart(client, instance_id)).status == "SUCCESS"
    until(lambda: show(client, instance_id).port != port, "the address does not follow the primary")
    assert connected(client, instance_id).get("key") == "value"
    assert connected(client, instance_id).set("key", "other")
    until(lambda: ask_sentinels(server, instance_id) == show(client, instance_id).port, "other addresses")

    resize(client, instance_id, "redis.single.xu1.large.1", 1)
    assert ended(client, instance_id, newest_task(client, instance_id).id).status == "SUCCESS"
    shown = show(client, instance_id)
    assert shown.cache_mode == "single"
    until(lambda: len(server.nodes()) == 1, "a replica or a sentinel is left")
    assert connected(client, instance_id).get("key") == "other"
    resize(client, instance_id, code(1), 1)
    assert ended(client, instance_id, newest_task(client, instance_id).id).status == "SUCCESS"
    assert (show(client, instance_id).port, show(client, instance_id).cache_mode) == (shown.port, "ha")
    assert connected(client, instance_id).wait(1, 10_000) == 1
    assert not list((server.data_dir / "proxies").glob("*/haproxy.cfg"))
