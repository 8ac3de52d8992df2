"""Attacks of a client with the password of its own cache: on other caches, on its own limits, and on the control
plane."""

import os
import socket
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from huaweicloudsdkdcs.v2 import DeleteSingleInstanceRequest, ListStatisticsOfRunningInstancesRequest
from valkey import Valkey
from valkey.exceptions import NoPermissionError, ResponseError, ValkeyClusterException, ValkeyError

from caches import cache, load, operator_of, present, states
from database_fixtures import stored_bytes
from sdk_calls import PASSWORD, create, created, ended, resize, show
from serving import Server, until

KEYS = 3000

ATTACKS = (
    "CLUSTER MEET 127.0.0.1 {port} {bus_port}",
    "CLUSTER FORGET {node_id}",
    "CLUSTER RESET HARD",
    "CLUSTER SETSLOT 0 NODE {node_id}",
    "CLUSTER ADDSLOTSRANGE 0 16383",
    "CLUSTER DELSLOTSRANGE 0 16383",
    "CLUSTER FLUSHSLOTS",
    "CLUSTER FAILOVER FORCE",
    "CLUSTER REPLICATE {node_id}",
    "CLUSTER BUMPEPOCH",
    "CLUSTER SET-CONFIG-EPOCH 1000000",
    "CLUSTER MIGRATESLOTS SLOTSRANGE 0 10 NODE {node_id}",
    "CLUSTER CANCELSLOTMIGRATIONS",
    "CONFIG SET cluster-announce-port 18950",
    "CONFIG SET maxmemory 100gb",
    "CONFIG SET appendonly no",
    "CONFIG SET port 18970",
    "CONFIG SET bind 0.0.0.0",
    "CONFIG GET primaryauth",
    "CONFIG GET *",
    "CONFIG REWRITE",
    "CONFIG RESETSTAT",
    "ACL SETUSER default resetpass >mine",
    "ACL SETUSER cachewright >mine",
    "ACL GETUSER cachewright",
    "ACL DELUSER cachewright",
    "ACL LIST",
    "SHUTDOWN NOSAVE",
    "SAVE",
    "BGSAVE",
    "BGREWRITEAOF",
    "CLIENT PAUSE 25000 ALL",
    "CLIENT KILL TYPE normal",
    "CLIENT NO-EVICT on",
    "MIGRATE 127.0.0.1 {port} key 0 1000",
    "REPLICAOF 127.0.0.1 {port}",
    "PSYNC ? -1",
    "REPLCONF listening-port 1",
    "SYNC",
    "MODULE LOAD /tmp/x.so",
    "MONITOR",
    "DEBUG SLEEP 10",
    "SCRIPT DEBUG SYNC",
    "SWAPDB 0 1",
    "FAILOVER",
)


@pytest.fixture(scope="module")
def victim(client: Any) -> Iterator[str]:
    instance_id = created(client)
    load(cache(client, instance_id), KEYS)
    yield instance_id
    client.delete_single_instance(DeleteSingleInstanceRequest(instance_id=instance_id))


@pytest.fixture(scope="module")
def own(client: Any) -> Iterator[str]:
    instance_id = created(client, name="attacker")
    yield instance_id
    client.delete_single_instance(DeleteSingleInstanceRequest(instance_id=instance_id))


def connection(client: Any, instance_id: str) -> Valkey:
    shown = show(client, instance_id)
    return Valkey(host=shown.ip, port=shown.port, password=PASSWORD, decode_responses=True, socket_timeout=10)


@pytest.mark.parametrize("command", ATTACKS)
def test_a_client_cannot_administer_or_leave_its_node(
    server: Server, client: Any, own: str, victim: str, command: str
) -> None:
    target = show(client, victim)
    bus_port = next(int(at["cluster-port"]) for at in configurations(server) if int(at["port"]) == target.port)
    with connection(client, own) as attacker:
        node_id = attacker.execute_command("CLUSTER MYID")
        words = command.format(port=target.port, bus_port=bus_port, node_id=node_id).split(" ")
        with pytest.raises(ResponseError, match=r"no permissions to run|not allowed"):
            attacker.execute_command(*words)
    with connection(client, own) as attacker, pytest.raises(ResponseError, match=r"(?i)perm|not allowed from script"):
        attacker.eval(f"return server.call({', '.join(repr(word) for word in words)})", 0)


def test_the_victim_is_whole_after_all_of_it(client: Any, own: str, victim: str) -> None:
    for instance_id in (own, victim):
        caches = cache(client, instance_id)
        assert states(caches) == {"ok"}
        assert len(caches.get_nodes()) == 3
        assert show(client, instance_id).status == "RUNNING"
    assert present(cache(client, victim), KEYS) == KEYS


def test_what_the_control_plane_sends_shows_nobody_its_secret(server: Server, client: Any, own: str) -> None:
    secrets = {at["primaryauth"].strip('"') for at in configurations(server)}
    assert PASSWORD not in secrets
    shown = str(client.list_statistics_of_running_instances(ListStatisticsOfRunningInstancesRequest()))
    with connection(client, own) as attacker:
        shown += repr(attacker.slowlog_get(1000)) + repr(attacker.client_list()) + repr(attacker.info("everything"))
    shown += "".join(" ".join(process.info["cmdline"]) for process in server.nodes()) + server.log()
    shown += stored_bytes(server.data_dir / "cachewright.db").decode("latin-1")
    for secret in secrets:
        assert len(secret) >= 32
        assert secret not in shown


def test_nodes_that_come_later_know_the_same_users(server: Server, client: Any, own: str) -> None:
    assert ended(client, own, resize(client, own, 4)).status == "SUCCESS"
    process = next(found for found in server.nodes() if found.is_running() and own_port(client, own) in ports(found))
    process.kill()
    process.wait(60)
    until(lambda: len(cache_or_none(client, own) or ()) == 4, "the node is not started again")
    for host, port in addresses(client, own):
        with Valkey(host=host, port=port, password=PASSWORD) as node:
            with pytest.raises(NoPermissionError):
                node.config_get("maxmemory")
            with pytest.raises(NoPermissionError):
                node.execute_command("CLUSTER MEET", host, port)
        with operator_of(server, host, port) as operator:
            assert operator.config_get("maxmemory")
    assert ended(client, own, resize(client, own, 3)).status == "SUCCESS"


def test_files_and_processes_of_nodes_are_for_their_owner_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS_FOR_TEST", "authorization=secret-of-the-server")
    server = Server(tmp_path / "data")
    previous = os.umask(0o022)
    try:
        server.start()
        client = server.client()
        instance_id = created(client, 1)
        assert ended(client, instance_id, resize(client, instance_id, 1, shard_gb=2)).status == "SUCCESS"
        found = [path for path in server.data_dir.rglob("*") if "nodes" in path.parts]
        assert {"valkey.conf", "valkey.sock", "nodes.conf", "valkey.pid"} <= {path.name for path in found}
        others = stat.S_IRWXG | stat.S_IRWXO
        assert [path for path in (server.data_dir / "nodes", *found) if path.lstat().st_mode & others] == []
        for process in server.nodes():
            assert set(process.environ()) <= {"PATH", "LANG", "PWD", "TZ", "GLIBC_TUNABLES", "LD_PRELOAD"}
    finally:
        os.umask(previous)
        server.clean_up()


def test_a_process_on_the_port_of_a_stopped_node_learns_nothing(own_server: Server) -> None:
    client = own_server.client()
    instance_id = created(client, 1)
    shown = show(client, instance_id)
    (process,) = own_server.nodes()
    with closing(socket.socket()) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        process.kill()
        until(lambda: bound(listener, shown.ip, shown.port), "the port is not free")
        listener.listen()
        heard: list[bytes] = []
        thread = threading.Thread(target=answer_all, args=(listener, heard), daemon=True)
        thread.start()
        until(lambda: "has died; starting it" in own_server.log(), "the supervisor has not seen it")
        for _ in range(3):
            client.list_statistics_of_running_instances(ListStatisticsOfRunningInstancesRequest())
            own_server.call("GET", f"instances/{instance_id}/configs")
            time.sleep(2.5)  # two rounds of measuring
        listener.shutdown(socket.SHUT_RDWR)  # which ends the wait for the next connection
        thread.join(10)
    assert heard == []


def bound(listener: socket.socket, host: str, port: int) -> bool:
    with suppress(OSError):
        listener.bind((host, port))
        return True
    return False


def answer_all(listener: socket.socket, heard: list[bytes]) -> None:
    """Answers +OK to everything, as a process would that collects passwords."""
    with suppress(OSError):
        while True:
            link, _ = listener.accept()
            with link, suppress(OSError):
                link.settimeout(2)
                while data := link.recv(4096):
                    heard.append(data)
                    link.sendall(b"+OK\r\n")


def test_clients_keep_what_they_need(client: Any, own: str) -> None:
    caches = cache(client, own)
    caches.set("key", 1)
    with connection(client, own) as node:
        assert node.client_setname("mine")
        assert node.client_list()
        assert node.client_id()
        assert node.info("all")
        assert node.execute_command("CLUSTER NODES")
        assert node.execute_command("CLUSTER SHARDS")
        assert node.execute_command("CLUSTER SLOTS")
        assert isinstance(node.slowlog_get(), list)
        assert node.eval("return 7", 0) == 7
        assert node.function_load("#!lua name=mine\nserver.register_function('seven', function() return 7 end)")
        assert node.fcall("seven", 0) == 7
        assert node.function_delete("mine")
        assert node.role()
        assert node.ping()
    serialised = caches.execute_command("DUMP", "key")
    assert caches.execute_command("RESTORE", "key", 0, serialised, "REPLACE")
    with pytest.raises(ValkeyError):
        caches.execute_command("RESTORE", "key", 0, b"\x00" + serialised[1:][::-1], "REPLACE")
    assert caches.flushall(target_nodes="primaries")
    assert caches.dbsize(target_nodes="primaries") == 0


def configurations(server: Server) -> list[dict[str, str]]:
    """The settings of every node."""
    found = (server.data_dir / "nodes").glob("*/valkey.conf")
    return [dict(line.split(" ", 1) for line in path.read_text().splitlines()) for path in found]


def own_port(client: Any, instance_id: str) -> int:
    return int(show(client, instance_id).port)


def ports(process: psutil.Process) -> set[int]:
    return {link.laddr.port for link in process.net_connections(kind="tcp") if link.status == psutil.CONN_LISTEN}


def addresses(client: Any, instance_id: str) -> list[tuple[str, int]]:
    return [(node.host, node.port) for node in cache(client, instance_id).get_nodes()]


def cache_or_none(client: Any, instance_id: str) -> list[Any] | None:
    try:
        caches = cache(client, instance_id)
        return caches.get_nodes() if states(caches) == {"ok"} else None
    except (ValkeyError, ValkeyClusterException, OSError):  # ValkeyClusterException is no ValkeyError
        return None


def test_a_cache_without_a_password_is_restricted_all_the_same(client: Any) -> None:
    instance_id = create(client, 1, no_password_access=True, password=None)
    until(lambda: show(client, instance_id).status == "RUNNING", "the instance is not RUNNING")
    shown = show(client, instance_id)
    with Valkey(host=shown.ip, port=shown.port) as node:
        assert node.set("key", 1)
        for command in ("CONFIG GET *", "ACL LIST", "CLUSTER RESET", "SHUTDOWN NOSAVE"):
            with pytest.raises(NoPermissionError):
                node.execute_command(*command.split(" "))
    client.delete_single_instance(DeleteSingleInstanceRequest(instance_id=instance_id))


def test_a_forged_payload_of_restore_is_refused(client: Any, own: str) -> None:
    """Version and checksum are right; the listpack inside is damaged, which could crash a node that trusts it."""
    caches = cache(client, own)
    caches.hset("hash", mapping={"a": "1111aaaa", "b": "2222"})
    dumped = caches.execute_command("DUMP", "hash")
    body = bytearray(dumped[:-8])
    assert checksum(bytes(body)) == dumped[-8:]
    body[body.index(b"1111aaaa") + len(b"1111aaaa")] = 0xFF  # the length by which the list is read backwards
    with pytest.raises(ResponseError, match="Bad data format"):
        caches.execute_command("RESTORE", "forged", 0, bytes(body) + checksum(bytes(body)), "REPLACE")
    assert caches.hgetall("hash")


def checksum(data: bytes) -> bytes:
    """CRC-64 of a serialised value (polynomial of Jones, as in Redis and Valkey)."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x95AC9329AC4BC9B5 if crc & 1 else 0)
    return crc.to_bytes(8, "little")
