"""Two servers and hosts with agents, of which several fail: no task stays, and no acknowledged write is lost."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_moved_nodes import LAG_SECONDS, killed, moved, moves_of, writing

from agents import VARIABLE, Hosts
from caches import cache, load, present
from postgres_server import PostgresServer
from sdk_calls import created, newest_task, show, unfinished
from serving import Server, until

KEYS = 10_000
OUTAGE_SECONDS = 20.0
"""Longer than a claim is valid, a server waits before it takes it, and a host counts as reporting."""


@pytest.fixture
def hosts(own_postgres: PostgresServer, tmp_path: Path) -> Iterator[Hosts]:
    made = Hosts(own_postgres.new_database(), tmp_path, ("local",) * 3, "--host-rebuild-seconds", "0")
    try:
        made.run("hosts", "cordon", "local")
        yield made
    finally:
        made.clean_up()


@pytest.fixture
def second(hosts: Hosts, tmp_path: Path) -> Iterator[Server]:
    """A server without the claim."""
    server = Server(tmp_path / "second", arguments=hosts.server.arguments, environment={VARIABLE: hosts.url})
    server.data_dir.mkdir(mode=0o700)
    shutil.copy(hosts.server.data_dir / "secret.key", server.data_dir)
    try:
        server.start()
        yield server
    finally:
        server.clean_up()


def used(hosts: Hosts, instance_id: str) -> set[str]:
    return {name for names in hosts.places(instance_id).values() for name in names}


def settled(client: Any, instance_id: str) -> bool:
    return not unfinished(client, instance_id) and show(client, instance_id).status == "RUNNING"


def a_host_dies_while_the_database_is_away(hosts: Hosts, database: PostgresServer, instance_id: str) -> None:
    """The cluster fails over by itself. When the database is back, the host is replaced by the server that had the
    claim."""
    client = hosts.server.client()
    traffic = writing(client, instance_id, 0)
    database.stop()
    died_at = killed(hosts, "h4")
    back_at = time.monotonic() + OUTAGE_SECONDS
    until(lambda: time.monotonic() > back_at, "the database is away for long enough")
    before = traffic.writes
    until(lambda: traffic.writes > before + 500, "clients write without the database and the host")
    database.start()
    until(lambda: moved(client, instance_id) and used(hosts, instance_id) == {"h2", "h3"}, "its nodes are replaced")
    until(lambda: settled(client, instance_id), "a task stays", lasting=True)
    traffic.finish(cache(client, instance_id))
    assert all(died_at - LAG_SECONDS < loss.at <= died_at for loss in traffic.losses)
    overview = hosts.server.call("GET", "servers")[1]
    assert (overview["epoch"], len(overview["takeovers"])) == (1, 1), "no server was replaced"
    hosts.agents["h4"].start()
    until(lambda: hosts.listed()["h4"]["reporting"], "the host reports again")


def a_server_dies_while_a_host_is_drained(hosts: Hosts, second: Server, instance_id: str) -> None:
    first, client = hosts.server, second.client()
    traffic = writing(client, instance_id, 1)
    moves = moves_of(client, instance_id)
    hosts.run("hosts", "drain", "h2")
    until(lambda: moves_of(client, instance_id) > moves, "the drain begins")
    until(lambda: newest_task(client, instance_id).status == "EXECUTING", "a node moves")
    first.kill()
    hosts.server = second
    until(lambda: used(hosts, instance_id) == {"h3", "h4"}, "the host is emptied by the other server")
    until(lambda: settled(client, instance_id), "a task stays", lasting=True)
    caches = cache(client, instance_id)
    traffic.finish(caches)
    assert not traffic.losses
    assert present(caches, KEYS) == KEYS
    newest = second.call("GET", "servers")[1]["takeovers"][0]
    assert (newest["epoch"], newest["cause"], newest["ended_at"]) == (2, "silent", None)
    hosts.server = first


def test_a_host_the_database_and_a_server_fail(hosts: Hosts, second: Server, own_postgres: PostgresServer) -> None:
    client = hosts.server.client()
    instance_id = created(client, 3, copies=2)
    load(cache(client, instance_id), KEYS)
    assert used(hosts, instance_id) == {"h2", "h3", "h4"}
    a_host_dies_while_the_database_is_away(hosts, own_postgres, instance_id)
    a_server_dies_while_a_host_is_drained(hosts, second, instance_id)
