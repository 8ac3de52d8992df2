"""Servers and agents are replaced by those of a later release, whose tables differ, while a task runs under traffic."""

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_restart import restart

from agents import VARIABLE, AgentProcess, Hosts
from caches import cache, load, present
from later_release import VERSION, later_release
from postgres_server import PostgresServer
from sdk_calls import created, ended, held_in_migration, progress, resize, show
from serving import ROOMY, Server, until
from traffic import Traffic

KEYS = 5_000
WAITS = "waiting until no server of an earlier release uses"


@pytest.fixture
def hosts(postgres: PostgresServer, tmp_path: Path) -> Iterator[Hosts]:
    """A server without own nodes, and an agent."""
    started = Hosts(postgres.new_database(), tmp_path, ("az2",))
    try:
        started.run("hosts", "cordon", "local")
        yield started
    finally:
        started.clean_up()


@pytest.fixture
def later(hosts: Hosts, tmp_path: Path) -> Iterator[Server]:
    """A server of the later release on the same database, which has not started."""
    variables = later_release(tmp_path / "later release")
    server = Server(tmp_path / "later", arguments=ROOMY, environment={VARIABLE: hosts.url, **variables})
    server.data_dir.mkdir(mode=0o700)
    shutil.copy(hosts.server.data_dir / "secret.key", server.data_dir)
    try:
        yield server
    finally:
        server.clean_up()


def test_a_task_continues_while_servers_and_agents_are_upgraded(hosts: Hosts, later: Server) -> None:
    earlier, agent = hosts.server, hosts.agents["h2"]
    client = earlier.client()
    instance_id = created(client, 2, az_codes=["az2"])
    load(cache(client, instance_id), KEYS)
    shown = show(client, instance_id)
    traffic = Traffic(0, shown.port, host=shown.ip)
    traffic.start()
    task_id = held_in_migration(earlier, client, instance_id, 3)

    tried = _too_early(agent, later)
    assert tried.returncode == 1
    assert "upgrade the servers first" in tried.stderr
    assert "Traceback" not in tried.stderr

    starting = threading.Thread(target=later.start, daemon=True)
    starting.start()
    until(lambda: WAITS in later.log(), "the later release does not wait")
    before = progress(client, instance_id, task_id).progress
    assert earlier.stop() == 0
    starting.join()

    client = later.client()
    assert progress(client, instance_id, task_id).progress >= before
    control = f"instances/{instance_id}/tasks/{task_id}/control"
    assert later.call("PUT", control, {"state": "running"})[0] == 200
    assert ended(client, instance_id, task_id).status == "SUCCESS"
    assert ended(client, instance_id, resize(client, instance_id, 2)).status == "SUCCESS", "by the earlier agent"

    assert agent.stop() == 0
    agent.environment |= later.environment | {VARIABLE: agent.environment[VARIABLE]}
    agent.start()
    until(lambda: _release(later) == VERSION, "the later agent does not report")
    assert ended(client, instance_id, restart(client, instance_id)).status == "SUCCESS"

    caches = cache(client, instance_id)
    traffic.finish(caches)
    assert traffic.writes > 100
    assert not traffic.losses
    assert present(caches, KEYS) == KEYS
    code, message = earlier.refusal()
    assert code == 1
    assert "is a later release's; upgrade this server" in message


def _too_early(agent: AgentProcess, later: Server) -> subprocess.CompletedProcess[str]:
    """Try to start an agent of the later release, while the tables are those of the earlier one."""
    place = ("--host", agent.name, "--address", agent.address, "--data-dir", str(later.data_dir.parent / "too early"))
    command = [sys.executable, "-m", "cachewright", "agent", *place]
    variables = {**os.environ, **later.environment, **agent.environment}
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=variables)


def _release(server: Server) -> str | None:
    (found,) = [host for host in server.call("GET", "hosts")[1]["hosts"] if host["name"] == "h2"]
    return str(found["release"])
