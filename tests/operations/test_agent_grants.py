"""An agent with a shared role gets a role of its own, by `hosts grant`, and loses it with its host."""

import json
import random
import re
import stat
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from test_restart import restart

from agents import VARIABLE, Hosts, shared_role, url_for
from caches import cache, load, present
from postgres_server import PostgresServer
from sdk_calls import created, ended, gone
from serving import until

KEYS = 100


@pytest.fixture
def hosts(postgres: PostgresServer, tmp_path: Path) -> Iterator[Hosts]:
    url = postgres.new_database()
    number = random.randrange(10**9)
    made = Hosts(url, tmp_path, ("az2",), role=lambda _, __: shared_role(url, number))
    try:
        yield made
    finally:
        made.clean_up()
        postgres.drop_database(url)


def doctor(hosts: Hosts) -> list[tuple[str, str]]:
    found = json.loads(hosts.tried("doctor", "--json").stdout)
    return [(one["state"], one["message"] + one["remedy"]) for one in found if one["name"] == "agents"]


def calls(hosts: Hosts, schema: str) -> int:
    with psycopg.connect(hosts.url) as connection:
        query = f"SELECT count(*) FROM \"{schema}\".workflow_status WHERE queue_name = 'host h2'"  # noqa: S608
        row = connection.execute(query.encode()).fetchone()
    assert row
    return int(row[0])


def test_an_agent_changes_from_a_shared_role_to_its_own(hosts: Hosts, tmp_path: Path) -> None:
    server, client, agent = hosts.server, hosts.server.client(), hosts.agents["h2"]
    instance_id = created(client, 1, az_codes=["az2"])
    load(cache(client, instance_id), KEYS)
    assert calls(hosts, "dbos") > 0
    (first, message), (second, remedy) = doctor(hosts)
    assert (first, second) == ("warn", "warn")
    assert "the agent of host h2 uses a role that agents share" in message
    shared = re.findall(r'DROP ROLE "(agent\d+)"', remedy)
    assert len(shared) == 1

    refusals(hosts, tmp_path)
    file = tmp_path / "h2.pgpass"
    made = hosts.tried("hosts", "grant", "h2", "--password-file", str(file))
    assert (made.returncode, made.stderr) == (0, f"The password is in {file}, for the agent of host h2.\n")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    role, password = file.read_text().rstrip().split(":")[3:]
    assert password not in made.stdout
    assert len(password) > 30
    with psycopg.connect(hosts.url, autocommit=True) as connection:
        connection.execute(made.stdout.encode())
    agent.environment[VARIABLE] = url_for(role, file, hosts.url)
    agent.kill()
    agent.start()
    until(lambda: json.loads(hosts.run("hosts", "show", "h2", "--json"))[0]["own_role"], "it has its own role")
    with psycopg.connect(hosts.url, autocommit=True) as connection:
        connection.execute(f'DROP OWNED BY "{shared[0]}"; DROP ROLE "{shared[0]}";'.encode())
    before = calls(hosts, "dbos")
    nodes = {process.pid for process in agent.nodes()}
    assert ended(client, instance_id, restart(client, instance_id)).status == "SUCCESS"
    assert {process.pid for process in agent.nodes()}.isdisjoint(nodes)
    assert (calls(hosts, "dbos"), calls(hosts, role) > 0) == (before, True)
    assert doctor(hosts) == [("ok", "each agent has a role of its own in the database")]

    assert hosts.run("hosts", "grant", "h2", "--apply") == f"The role of host h2 is {role}.\n"
    server.kill()
    server.start()
    client = server.client()
    assert ended(client, instance_id, restart(client, instance_id)).status == "SUCCESS"
    assert present(cache(client, instance_id), KEYS) == KEYS

    assert server.call("DELETE", f"instances/{instance_id}")[0] == 204
    until(lambda: gone(client, instance_id), "the instance is deleted")
    hosts.run("hosts", "remove", "h2")
    until(lambda: agent.process and agent.process.poll() is not None, "its agent stops")
    with psycopg.connect(hosts.url) as connection:
        left = (
            "SELECT rolname FROM pg_roles WHERE rolname = %s UNION SELECT nspname FROM pg_namespace WHERE nspname = %s"
        )
        assert connection.execute(left, (role, role)).fetchall() == []


def refusals(hosts: Hosts, folder: Path) -> None:
    file = folder / "open.pgpass"
    file.write_text("*:*:d:r:p\n")
    file.chmod(0o644)
    for words, reason in (
        (("local",), "the host of the server has no agent"),
        (("h9",), "there is no host 'h9'"),
        (("h2", "--password-file", str(file)), f"others can read {file}"),
    ):
        refused = hosts.tried("hosts", "grant", *words)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert reason in refused.stderr
    file.chmod(0o600)
    assert "has no password of agent_" in hosts.tried("hosts", "grant", "h2", "--password-file", str(file)).stderr
