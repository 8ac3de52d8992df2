"""Instances on several hosts: a server and agents on one database, each with its own address and folder."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from test_restart import restart

from agents import VARIABLE, Hosts, hosts_on
from caches import cache, load, present
from migrating import migrate, reaches
from outside_server import PASSWORD as SOURCE_PASSWORD
from outside_server import outside_server
from postgres_server import PostgresServer
from sdk_calls import PASSWORD, created, ended, gone, resize, show
from serving import until
from traffic import Traffic

KEYS = 20_000


@pytest.fixture
def hosts(postgres: PostgresServer, tmp_path: Path) -> Iterator[Hosts]:
    with hosts_on(postgres, tmp_path, ("az2", "az3")) as made:
        yield made


def stored_texts(url: str) -> str:
    """Everything that DBOS keeps of workflows."""
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT row_to_json(w)::text FROM dbos.workflow_status AS w").fetchall()
    return "\n".join(str(row[0]) for row in rows)


def _migrate(client: Any, instance_id: str, folder: Path) -> None:
    with outside_server(folder) as source:
        source.client().set("outside", "value")
        reaches(client, migrate(client, instance_id, source.address, follow=False), "SUCCESS")
    assert cache(client, instance_id).get("outside") == b"value"


def test_an_instance_lives_on_two_other_hosts(hosts: Hosts, tmp_path: Path) -> None:
    server, client = hosts.server, hosts.server.client()
    instance_id = created(client, 2, copies=2, az_codes=["az2", "az3"])
    by_name = hosts.listed()
    placed = {name: [(node["role"], node["shard"]) for node in host["nodes"]] for name, host in by_name.items()}
    assert sorted(placed["h2"]) == [("primary", 0), ("primary", 1)]
    assert sorted(placed["h3"]) == [("replica", 0), ("replica", 1)]
    assert placed["local"] == []
    assert [len(agent.nodes()) for agent in hosts.agents.values()] == [2, 2]
    assert show(client, instance_id).ip == "127.0.0.2"
    load(cache(client, instance_id), KEYS)

    victim, staying = hosts.agents["h3"].nodes()
    victim.kill()
    until(lambda: len({p.pid for p in hosts.agents["h3"].nodes()} - {victim.pid, staying.pid}) == 1, "it was started")

    shown = show(client, instance_id)
    traffic = Traffic(0, shown.port, host=shown.ip)
    traffic.start()
    task_id = resize(client, instance_id, 3, copies=2)
    hosts.agents["h3"].kill()
    hosts.agents["h3"].start()
    assert ended(client, instance_id, task_id).status == "SUCCESS"
    assert [len(agent.nodes()) for agent in hosts.agents.values()] == [3, 3]
    before = {process.pid for process in hosts.agents["h2"].nodes()}
    assert ended(client, instance_id, restart(client, instance_id)).status == "SUCCESS"
    assert not before & {process.pid for process in hosts.agents["h2"].nodes()}
    caches = cache(client, instance_id)
    traffic.finish(caches)
    assert traffic.writes > 100
    assert not traffic.losses
    assert present(caches, KEYS) == KEYS

    _migrate(client, instance_id, tmp_path)
    assert SOURCE_PASSWORD not in stored_texts(hosts.url)
    assert PASSWORD not in stored_texts(hosts.url)
    assert "requirepass" not in stored_texts(hosts.url)
    for agent in hosts.agents.values():
        assert (agent.data_dir / "agent.key").stat().st_mode & 0o777 == 0o600
        assert PASSWORD not in agent.log()
        assert agent.process
        assert VARIABLE not in " ".join(psutil.Process(agent.process.pid).cmdline())

    refused = hosts.tried("hosts", "remove", "h3")
    assert (refused.returncode, refused.stderr) == (1, "cachewright: host 'h3' has 3 nodes\n")
    assert server.call("DELETE", f"instances/{instance_id}")[0] == 204
    until(lambda: gone(client, instance_id), "the instance is deleted")
    for agent in hosts.agents.values():
        assert agent.nodes() == []
        assert list((agent.data_dir / "nodes").iterdir()) == []

    hosts.agents["h3"].kill()
    until(lambda: not hosts.listed()["h3"]["reporting"], "the host is silent")
    body = {"name": "cache", "engine": "Redis", "engine_version": "7.0", "capacity": 1, "vpc_id": "v", "subnet_id": "s"}
    single = {"spec_code": "redis.single.xu1.large.1", "az_codes": ["az3"], "password": PASSWORD}
    status, answer = server.call("POST", "instances", body | single)
    assert (status, answer["error_code"]) == (400, "DCS.4036"), json.dumps(answer)
    assert "no host in zone az3 takes new nodes" in answer["error_msg"]
