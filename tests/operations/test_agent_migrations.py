"""Migrations from outside into instances on other hosts, whose agents run the gateways."""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from huaweicloudsdkdcs.v2 import DeleteSingleInstanceRequest, StopMigrationTaskSyncRequest
from test_agent_backups import require_not_in_clear
from test_interrupted_migrations import copies, started
from test_online_migration import tried
from valkey import Valkey

from agents import AgentProcess, Hosts, hosts_on
from caches import cache, serves
from migrating import SINGLE, content, fill, imported, is_ready, log, migrate, migration, reaches, served
from outside_server import PASSWORD as SOURCE_PASSWORD
from outside_server import OutsideServer, outside_server
from postgres_server import PostgresServer
from sdk_calls import PASSWORD, created, gone, newest_task, progress, show
from serving import Server, until
from tls_front import HAPROXY, tls_front

AWAY = ["az2", "az3"]
KEYS, BYTES = 4000, 1000


@pytest.fixture(scope="module")
def hosts(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    with hosts_on(postgres, tmp_path_factory.mktemp("hosts"), AWAY) as made:
        yield made


@pytest.fixture
def source(tmp_path: Path) -> Iterator[OutsideServer]:
    with outside_server(tmp_path) as started:
        yield started


def folders(hosts: Hosts) -> dict[str, list[Path]]:
    """Folders of gateways by host."""
    machines: dict[str, Server] = {"local": hosts.server, **hosts.agents}
    found = {name: list((machine.data_dir / "gateways").glob("[!.]*")) for name, machine in machines.items()}
    return {name: paths for name, paths in found.items() if paths}


def gateways(agent: Server) -> list[psutil.Process]:
    return [process for process in agent.nodes() if any("/gateways/" in word for word in process.info["cmdline"])]


def agent_of(hosts: Hosts) -> AgentProcess:
    """The agent that has the only gateways."""
    (name,) = folders(hosts)
    return hosts.agents[name]


def is_only_node(process: psutil.Process, hosts: Hosts, instance_id: str) -> bool:
    """Whether a process is the node of an instance with a single one."""
    with psycopg.connect(hosts.url) as connection:
        ((node_id,),) = connection.execute("SELECT id FROM nodes WHERE instance_id = %s", [instance_id]).fetchall()
    return any(f"/nodes/{node_id}/" in word for word in process.cmdline())


def cut_over(server: Server, migration_id: str) -> None:
    until(lambda: is_ready(server, migration_id), "the migration is not ready")
    assert server.call("POST", f"migration-task/{migration_id}/cut-over", {})[0] == 200
    reaches(server.client(), migration_id, "SUCCESS")


def test_gateways_run_on_a_host_of_the_nodes(hosts: Hosts, source: OutsideServer) -> None:
    client, outside = hosts.server.client(), source.client()
    target = created(client, 2, copies=2, az_codes=AWAY)
    fill(outside, 1000)
    outside.function_load("#!lua name=old\nserver.register_function('f', function() return 1 end)")
    migration_id = migrate(client, target, source.address, follow=True)
    reaches(client, migration_id, "INCRMIGEATING")
    agent = agent_of(hosts)
    (process,) = gateways(agent)
    assert SOURCE_PASSWORD not in str(process.cmdline())
    for path in agent.data_dir.rglob("*"):
        with suppress(FileNotFoundError):
            assert not path.is_file() or SOURCE_PASSWORD.encode() not in path.read_bytes(), path
    outside.delete(*(f"key:{number}" for number in range(100)))
    outside.mset({f"later:{number}": number for number in range(100)})
    outside.xgroup_create("stream", "group", "0")
    outside.function_delete("old")
    outside.function_load("#!lua name=new\nserver.register_function('f', function() return 2 end)")
    cut_over(hosts.server, migration_id)
    caches = cache(client, target)
    found = content(caches)
    assert found == content(outside)
    assert len(found) == 1000 + 5
    for node in caches.get_primaries():
        with Valkey(host=node.host, port=node.port, password=PASSWORD) as inside:
            assert [library[1] for library in inside.function_list()] == [b"new"]
    assert folders(hosts) == {}
    assert f"keys are copied by host {agent.name}" in log(client, migration_id)
    require_not_in_clear(hosts, SOURCE_PASSWORD)
    assert not any("Traceback" in machine.log() for machine in (hosts.server, *hosts.agents.values()))


def test_killed_agents_and_servers_and_a_silent_host(hosts: Hosts, source: OutsideServer) -> None:
    """The agent is killed while it copies, the server while the source is followed. Then the agent stands still, and
    another host takes over. When the agent continues, it copies nothing."""
    server, outside = hosts.server, source.client()
    target = created(server.client(), 3, copies=2, az_codes=AWAY, name="killed")
    outside.mset({f"key:{number}": os.urandom(BYTES) for number in range(KEYS)})
    migration_id = started(server, target, source)
    task_id = newest_task(server.client(), target).id
    until(lambda: copies(server, target, task_id), "no key is copied")
    agent = agent_of(hosts)
    (process,) = gateways(agent)
    agent.kill()
    outside.delete("key:0", "key:1")
    agent.start()
    reaches(server.client(), migration_id, "INCRMIGEATING")
    assert gateways(agent) == [process]
    entries = len(log(server.client(), migration_id))

    server.kill()
    outside.delete("key:2")
    outside.set("while the server", "is killed")
    server.start()
    until(lambda: is_ready(server, migration_id), "the migration is not ready after the kill of the server")
    assert len(log(server.client(), migration_id)) == entries, "the job of the agent was begun again"

    assert agent.process is not None
    agent.process.send_signal(signal.SIGSTOP)
    outside.delete("key:3")
    (other,) = (one for one in hosts.agents.values() if one is not agent)
    until(lambda: gateways(other), "no other host has gateways")
    agent.process.send_signal(signal.SIGCONT)
    outside.set("last", "write")
    until(lambda: set(folders(hosts)) == {other.name}, "the former host keeps its gateways")
    cut_over(server, migration_id)
    until(lambda: serves(server.client(), target), "the instance does not serve")
    found = content(cache(server.client(), target))
    assert found == content(outside)
    assert len(found) == KEYS - 4 + 2
    assert folders(hosts) == {}


def test_files_are_imported_by_a_host_of_the_nodes(hosts: Hosts, source: OutsideServer) -> None:
    """The agent is killed while its gateway has the file, and in a second import the server."""
    client, outside = hosts.server.client(), source.client()
    target = created(client, 2, copies=2, az_codes=AWAY, name="imports")
    fill(outside, 300)
    outside.mset({f"large:{number}": os.urandom(BYTES) for number in range(KEYS)})
    outside.save()
    with served(source.folder) as url:
        migration_id = imported(client, target, urls=(f"{url}/dump.rdb?sign=secret",))
        agent = until(lambda: hosts.frozen_with("gateways"), "no agent has a gateway")
        assert set(folders(hosts)) == {agent.name}
        agent.kill()
        agent.start()
        reaches(client, migration_id, "SUCCESS")
        again = imported(client, target, urls=(f"{url}/dump.rdb?sign=secret",))
        hosts.kill_server_while_agent_has("gateways")
        reaches(client, again, "SUCCESS")
    assert content(cache(client, target)) == content(outside)
    assert folders(hosts) == {}
    assert f"files are imported by host {agent.name}" in log(client, migration_id)
    require_not_in_clear(hosts, "sign=secret")


def test_what_ends_leaves_no_gateway(hosts: Hosts, source: OutsideServer, tmp_path: Path) -> None:
    """A single instance on one host: sources with TLS and without PSYNC, a killed node, a pause, a cancellation, a
    deletion."""
    server, client, outside = hosts.server, hosts.server.client(), source.client()
    target = created(client, **SINGLE, az_codes=["az2"], name="single")
    assert hosts.places(target) == {0: ["h2"]}
    shown = show(client, target)
    inside: Any = Valkey(host=shown.ip, port=shown.port, password=PASSWORD)
    fill(outside, 300)
    if HAPROXY:
        with tls_front(tmp_path, source.port) as front:
            trusted = {"ssl_enabled": True, "ssl_ca": front.authority}
            migration_id = migrate(client, target, f"127.0.0.1:{front.port}", follow=True, **trusted)
            reaches(client, migration_id, "INCRMIGEATING")
            outside.set("by", "tls")
            until(lambda: inside.get("by") == b"tls", "a write does not arrive")
            client.stop_migration_task_sync(StopMigrationTaskSyncRequest(task_id=migration_id))
        assert migration(client, migration_id).status == "TERMINATED"
        assert content(inside) == content(outside)
        assert folders(hosts) == {}
        inside.flushall()
    (tmp_path / "closed").mkdir()
    with outside_server(tmp_path / "closed", "--rename-command", "PSYNC", "") as closed:
        fill(closed.client(), 300)
        reaches(client, migrate(client, target, closed.address, follow=False), "SUCCESS")
        assert content(inside) == content(closed.client())
    inside.flushall()

    migration_id = migrate(client, target, source.address, follow=True)
    reaches(client, migration_id, "INCRMIGEATING")
    (node,) = (process for process in hosts.agents["h2"].nodes() if is_only_node(process, hosts, target))
    node.kill()
    outside.set("after", "a kill")
    until(lambda: tried(lambda: inside.get("after") == b"a kill"), "nothing is copied after the kill of a node")
    task_id = newest_task(client, target).id
    control = f"instances/{target}/tasks/{task_id}/control"
    assert server.call("PUT", control, {"state": "paused"})[0] == 200
    until(lambda: outside.incr("n") and "paused" in str(progress(client, target, task_id)), "no pause is shown")
    assert int(inside.get("n")) < int(outside.get("n"))
    assert server.call("PUT", control, {"state": "running"})[0] == 200
    until(lambda: inside.get("n") == outside.get("n"), "the migration does not go on")
    assert set(folders(hosts)) == {"h2"}
    client.delete_single_instance(DeleteSingleInstanceRequest(instance_id=target))
    until(lambda: gone(client, target), "the instance is not deleted")
    until(lambda: not folders(hosts), "gateways are left")
    assert gateways(hosts.agents["h2"]) == []
