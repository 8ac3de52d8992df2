"""Several servers on one PostgreSQL database: one performs tasks, all answer requests, and each replaces another."""

import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psycopg
import pytest
from huaweicloudsdkcore.exceptions.exceptions import SdkException
from psycopg import sql
from test_moved_nodes import writing

from agents import AgentProcess, own_role
from caches import cache, load, present
from postgres_server import PostgresServer
from sdk_calls import created, ended, held_in_migration, progress, show
from serving import Server, until
from stream_readers import StreamReader

VARIABLE = "CACHEWRIGHT_DATABASE_URL"
KEYS = 10_000
STANDBY = "Another server performs tasks"
TAKEN = "this server performs the tasks of"
REPLACED = 75
"""Exit code of a server that another one has replaced."""


class Installation:
    """Two servers without own nodes, and an agent."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.first = Server(folder / "first", environment={VARIABLE: url})
        self.first.start()
        self._run("hosts", "add", "h2")
        self._run("hosts", "cordon", "local")
        self.agent = AgentProcess("h2", "127.0.0.2", folder / "agent", own_role(self.first, "h2"))
        self.agent.start()
        self.second = Server(folder / "second", environment={VARIABLE: url})
        self.second.data_dir.mkdir(mode=0o700)
        shutil.copy(self.first.data_dir / "secret.key", self.second.data_dir)
        self.second.start()
        until(lambda: self.first.call("GET", "hosts")[1]["hosts"][0]["reporting"], "the host does not report")

    def tried(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command on the data directory of the first server."""
        command = [sys.executable, "-m", "cachewright", *words, "--data-dir", str(self.first.data_dir)]
        environment = {**os.environ, **self.first.environment}
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)

    def _run(self, *words: str) -> None:
        done = self.tried(*words)
        assert (done.returncode, done.stderr) == (0, "")

    def silent(self) -> list[int]:
        """Return the pids of servers that do not report, as the first server sees them."""
        return [each["pid"] for each in self.first.call("GET", "servers")[1]["servers"] if not each["reporting"]]

    def clean_up(self) -> None:
        for process in (self.agent, self.first, self.second):
            if process.process and process.process.poll() is None:
                process.process.send_signal(signal.SIGCONT)
            process.clean_up()


@pytest.fixture
def installation(own_postgres: PostgresServer, tmp_path: Path) -> Iterator[Installation]:
    made = Installation(own_postgres.new_database(), tmp_path)
    try:
        yield made
    finally:
        made.clean_up()


def changeable(installation: Installation, url: str, client: Any, instance_id: str) -> Mapping[str, Any]:
    """What a server could change: processes and files of nodes, owners of slots, users, and the record."""
    confs = installation.agent.data_dir.glob("nodes/*/valkey.conf")
    with psycopg.connect(url) as connection:
        rows = {
            table: connection.execute(
                sql.SQL("SELECT row_to_json(t)::text FROM {} AS t ORDER BY 1").format(sql.Identifier(table))
            ).fetchall()
            for table in ("tasks", "instances", "nodes")
        }
        epoch = connection.execute("SELECT epoch FROM server_claims").fetchone()
    return {
        "files": {str(conf): conf.read_text() for conf in confs},
        "processes": {process.pid for process in installation.agent.nodes()},
        "slots": str(cache(client, instance_id).cluster_slots()),
        "rows": rows,
        "epoch": epoch,
    }


def test_a_server_that_dies_or_freezes_is_replaced_and_changes_nothing_afterwards(
    installation: Installation, own_postgres: PostgresServer
) -> None:
    first, second = installation.first, installation.second
    assert STANDBY in second.log()
    client = second.client()
    instance_id = created(client, 2)
    other = first.client()
    until(lambda: str(show(client, instance_id)) == str(show(other, instance_id)), "each server measures the memory")
    load(cache(client, instance_id), KEYS)
    traffic = writing(client, instance_id, 0)
    task_id = held_in_migration(second, client, instance_id, 4)
    readers = [StreamReader(server, f"instances/{instance_id}/tasks/{task_id}/progress") for server in (first, second)]
    until(lambda: all(reader.percents for reader in readers), "the streams begin")
    own_postgres.stop()
    own_postgres.start()
    until(lambda: answers(client, instance_id, task_id), "the server finds its database again")
    assert epoch(installation.url) == 1, "the server with the claim keeps it"

    assert first.process
    assert second.process
    before = progress(client, instance_id, task_id).progress
    first.process.send_signal(signal.SIGSTOP)
    until(lambda: TAKEN in second.log(), "it takes over")
    assert progress(client, instance_id, task_id).progress >= before
    control = f"instances/{instance_id}/tasks/{task_id}/control"
    assert second.call("PUT", control, {"state": "running"})[0] == 200
    assert ended(client, instance_id, task_id).status == "SUCCESS"
    readers[1].join()
    assert readers[1].last == "end"
    assert readers[1].percents[-1] == 100
    assert readers[1].percents == sorted(readers[1].percents)

    known = changeable(installation, installation.url, client, instance_id)
    first.process.send_signal(signal.SIGCONT)
    assert first.process.wait(60) == REPLACED
    assert changeable(installation, installation.url, client, instance_id) == known
    assert "this one stops" in first.log()

    first.start()
    assert first.log().count(STANDBY) == 1
    client = first.client()
    task_id = held_in_migration(first, client, instance_id, 2)
    control = f"instances/{instance_id}/tasks/{task_id}/control"
    assert first.call("PUT", control, {"state": "running"})[0] == 200
    second.kill()
    assert ended(client, instance_id, task_id).status == "SUCCESS"
    assert TAKEN in first.log()
    caches = cache(client, instance_id)
    traffic.finish(caches)
    assert traffic.writes > 100
    assert not traffic.losses
    assert present(caches, KEYS) == KEYS
    told(installation)
    assert first.stop() == 0


def told(installation: Installation) -> None:
    """What operators see of two servers that have replaced each other, after the second one was killed."""
    first = installation.first
    assert installation.second.process
    killed_pid = installation.second.process.pid
    until(lambda: installation.silent() == [killed_pid], "the server that was killed counts as silent")
    _, found = first.call("GET", "servers")
    holder, killed = sorted(found["servers"], key=lambda server: not server["reporting"])
    assert first.process
    assert (holder["pid"], holder["performs_tasks"], holder["epoch"]) == (first.process.pid, True, 3)
    assert (killed["performs_tasks"], killed["epoch"]) == (False, 2)
    takeovers = found["takeovers"]
    assert [(each["epoch"], each["cause"]) for each in takeovers] == [(3, "silent"), (2, "silent"), (1, "first")]
    assert takeovers[0]["ended_at"] is None
    for later, earlier in itertools.pairwise(takeovers):
        assert earlier["began_at"] < earlier["ended_at"] < later["began_at"]
    metrics = first.metrics()
    assert "cachewright_claim_epoch 3.0" in metrics
    assert re.search(r'cachewright_takeover_timestamp_seconds\{cause="silent"\} 1\.\d+e\+09', metrics)
    assert 'cachewright_host_unreached_nodes{host="h2"} 0.0' in metrics
    findings = json.loads(installation.tried("doctor", "--json").stdout)
    said = {(each["name"], each["state"]): each["message"] for each in findings}
    assert f"(pid {killed['pid']}) has not reported for" in said["servers", "warn"]
    assert "0 servers are ready to take over" in said["servers", "ok"]
    assert "nodes that run on host h2 accept connections" in said["reach", "ok"]


def answers(client: Any, instance_id: str, task_id: str) -> bool:
    try:
        return bool(progress(client, instance_id, task_id))
    except SdkException:
        return False


def epoch(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT epoch FROM server_claims").fetchone()
    assert row
    return int(row[0])
