"""A cluster has only its own members: whatever else is wrong with it is reported, and what can be put right safely is.

A local process can join a cluster without a password, because the cluster bus has none. It is found and taken out
within seconds."""

import hashlib
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from stranger import Stranger, stranger
from valkey import Valkey

from caches import FAULTS, cache, load, operator_of, present, states
from receiver import Receiver
from sdk_calls import created, ended, resize
from serving import Server, freeze, thaw, until

KEYS = 3000


@pytest.fixture
def intruder(tmp_path: Path) -> Iterator[Stranger]:
    with stranger(tmp_path / "stranger") as found:
        yield found


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as opened:
        yield opened


def healthy(client: Any, instance_id: str) -> bool:
    try:
        return states(cache(client, instance_id)) == {"ok"}
    except FAULTS:
        return False


class Nodes:
    """The nodes of one instance, for someone who may do everything on them."""

    def __init__(self, server: Server, instance_id: str) -> None:
        self._server = server
        with closing(sqlite3.connect(server.data_dir / "cachewright.db")) as database:
            found = database.execute("SELECT id, port, bus_port FROM nodes WHERE instance_id=?", [instance_id])
            self.ports = {node_id: (port, bus_port) for node_id, port, bus_port in found.fetchall()}

    def on(self, node_id: str) -> Valkey:
        return operator_of(self._server, "127.0.0.1", self.ports[node_id][0], decode_responses=True)

    def members(self, node_id: str) -> dict[str, list[str]]:
        """Members in the eyes of that node: their slots by their ids."""
        with closing(self.on(node_id)) as node:
            lines = node.execute_command("CLUSTER", "NODES").splitlines()
        return {line.split()[0]: line.split()[8:] for line in lines}

    def owner_of_slots(self) -> str:
        first = next(iter(self.ports))
        return next(node_id for node_id, slots in self.members(first).items() if slots)

    def know_only_each_other(self) -> bool:
        return all(self.members(node_id).keys() == self.ports.keys() for node_id in self.ports)


def state(server: Server, instance_id: str) -> tuple[str, str | None]:
    """Status and error code, as the list of instances shows them."""
    listed = server.call("GET", "instances")[1]["instances"]
    found = next(instance for instance in listed if instance["instance_id"] == instance_id)
    return found["status"], found["error_code"] or None


def incidents(server: Server) -> list[dict[str, Any]]:
    """Oldest first."""
    with closing(sqlite3.connect(server.data_dir / "cachewright.db")) as database:
        database.row_factory = sqlite3.Row
        return [dict(row) for row in database.execute("SELECT * FROM incidents ORDER BY began_at, id")]


@contextmanager
def unnoticed(server: Server) -> Iterator[None]:
    """The server does not look at anything within the block."""
    assert server.process is not None
    process = psutil.Process(server.process.pid)
    freeze(process)
    try:
        yield
    finally:
        thaw(process)


def kinds(server: Server) -> set[str]:
    return {incident["kind"] for incident in incidents(server)}


def forgotten(server: Server) -> float:
    """How often members were forgotten."""
    name = "cachewright_foreign_members_forgotten_total "
    return next(float(line.removeprefix(name)) for line in server.metrics().splitlines() if line.startswith(name))


def test_a_stranger_that_takes_all_slots_is_reported_and_forgotten(
    own_server: Server, intruder: Stranger, receiver: Receiver
) -> None:
    client = own_server.client()
    status, webhook = own_server.call(
        "POST", "webhooks", {"url": receiver.url, "events": ["io.cachewright.incident.began"]}
    )
    assert status == 200
    instance_id = created(client, 2)
    nodes = Nodes(own_server, instance_id)
    load(cache(client, instance_id), KEYS, 10)
    with unnoticed(own_server):  # or it might be forgotten before it has done any harm
        intruder.claim()
        intruder.meet(*nodes.ports[nodes.owner_of_slots()])
        until(lambda: not any(nodes.members(known)[known] for known in nodes.ports), "no slots are lost")
    until(lambda: state(own_server, instance_id) == ("ERROR", "DCS.9009"), "the stranger is not noticed")
    until(nodes.know_only_each_other, "the stranger is not forgotten")
    assert f"foreign_member: member {intruder.id}" in own_server.log()
    assert "owns slots 0-16383" in own_server.log()

    until(lambda: state(own_server, instance_id) == ("ERROR", "DCS.9010"), "that slots are lost is not reported")
    assert kinds(own_server) >= {"foreign_member", "uncovered_slots"}
    entries = own_server.call("GET", "audit")[1]["entries"]
    told = [(entry["action"], entry["error_code"]) for entry in entries if entry["user_name"] == "system"]
    assert ("cachewright:incident:begin", "DCS.9009") in told
    assert ("cachewright:incident:end", "DCS.9009") in told
    until(lambda: len(receiver.received) >= 2, "the webhook is not told")
    first = receiver.events(webhook["secret"])[0]
    assert first["type"] == "io.cachewright.incident.began"
    assert first["source"].endswith(f"/instances/{instance_id}")
    assert first["data"]["error_code"] == "DCS.9009"
    assert intruder.id in first["data"]["message"]
    page = own_server.metrics()
    assert 'cachewright_incidents_total{kind="foreign_member"} 1.0' in page
    assert 'cachewright_incidents_open{kind="uncovered_slots"} 1.0' in page


def test_a_stranger_without_slots_leaves_nothing_behind(own_server: Server, intruder: Stranger) -> None:
    """And as often as it comes back: forgetting bans a member for a minute only."""
    client = own_server.client()
    instance_id = created(client, 2, copies=2)
    nodes = Nodes(own_server, instance_id)
    load(cache(client, instance_id), KEYS, 10)
    for _ in range(2):
        before = forgotten(own_server)
        intruder.meet(*nodes.ports[nodes.owner_of_slots()])
        until(lambda known=before: forgotten(own_server) > known, "the stranger is not noticed")
        until(nodes.know_only_each_other, "the stranger is not forgotten")
    until(lambda: kinds(own_server) == {"foreign_member"}, "there is no incident")
    until(lambda: all(incident["ended_at"] for incident in incidents(own_server)), "the incident does not end")
    until(lambda: state(own_server, instance_id) == ("RUNNING", None), "the status does not end")
    assert all(incident["ended_at"] >= incident["began_at"] for incident in incidents(own_server))
    assert present(cache(client, instance_id), KEYS) == KEYS


def test_a_stranger_cannot_hide_behind_the_id_of_a_placeholder(own_server: Server, tmp_path: Path) -> None:
    """That a new primary starts behind a stand-in is no secret, and neither is its id."""
    client = own_server.client()
    instance_id = created(client, 2)
    nodes = Nodes(own_server, instance_id)
    load(cache(client, instance_id), KEYS, 10)
    for process in own_server.nodes():  # a node refuses for a minute, while it runs, the id that it has forgotten
        process.kill()
        process.wait(60)
    until(lambda: len(own_server.nodes()) == 2 and healthy(client, instance_id), "the nodes are not started again")
    one, other = nodes.ports
    placeholder = hashlib.sha1(f"{one}/stand-in".encode(), usedforsecurity=False).hexdigest()
    with stranger(tmp_path / "stranger", placeholder) as intruder:
        intruder.meet(*nodes.ports[other])
        until(lambda: state(own_server, instance_id) == ("ERROR", "DCS.9009"), "the stranger is not noticed")
        until(nodes.know_only_each_other, "the stranger is not forgotten")
    until(lambda: state(own_server, instance_id) == ("RUNNING", None), "the incident does not end")
    assert present(cache(client, instance_id), KEYS) == KEYS


def test_a_stranger_that_takes_over_a_shard_is_forgotten_and_the_shard_keeps_its_data(
    own_server: Server, intruder: Stranger
) -> None:
    """A primary follows the one that takes over, so it cannot forget it as it is."""
    client = own_server.client()
    instance_id = created(client, 2)
    nodes = Nodes(own_server, instance_id)
    load(cache(client, instance_id), KEYS, 10)
    victim = nodes.owner_of_slots()
    with unnoticed(own_server):
        intruder.meet(*nodes.ports[victim])
        take_over(intruder, victim, nodes)
    until(lambda: kinds(own_server) >= {"foreign_member"}, "the stranger is not noticed")
    until(nodes.know_only_each_other, "the stranger is not forgotten")
    until(lambda: nodes.members(victim)[victim], "the primary does not get its slots back")
    until(lambda: state(own_server, instance_id) == ("RUNNING", None), "the incident does not end")
    assert "may know its secrets" in own_server.log()
    assert present(cache(client, instance_id), KEYS) == KEYS


def take_over(intruder: Stranger, victim: str, nodes: Nodes) -> None:
    """As a replica that never copied anything."""
    until(lambda: victim in intruder.known(), "the stranger does not get in")
    with closing(nodes.on(victim)) as node:
        intruder.command("CLUSTER", "REPLICATE", victim)
        until(lambda: f"slave {victim}" in node.execute_command("CLUSTER", "NODES"), "it is no replica")
        intruder.command("CLUSTER", "FAILOVER", "TAKEOVER")
        until(lambda: node.role()[0] == "slave", "the primary does not follow the stranger")


def test_a_stranger_is_forgotten_while_a_task_runs(own_server: Server, intruder: Stranger) -> None:
    """And nothing that the task does is taken for a fault."""
    client = own_server.client()
    instance_id = created(client, 2)
    nodes = Nodes(own_server, instance_id)
    load(cache(client, instance_id), 20_000)
    task_id = resize(client, instance_id, 3)
    intruder.meet(*nodes.ports[nodes.owner_of_slots()])
    until(lambda: "foreign_member" in kinds(own_server), "the stranger is not noticed")
    assert ended(client, instance_id, task_id).status == "SUCCESS"
    until(lambda: Nodes(own_server, instance_id).know_only_each_other(), "the stranger is not forgotten")
    until(lambda: state(own_server, instance_id) == ("RUNNING", None), "the incident does not end")
    assert kinds(own_server) == {"foreign_member"}
    assert present(cache(client, instance_id), 20_000) == 20_000


def test_two_instances_that_were_merged_are_parted(own_server: Server) -> None:
    client = own_server.client()
    one, other = created(client, 1, name="cache-one"), created(client, 1, name="cache-two")
    first, second = Nodes(own_server, one), Nodes(own_server, other)
    with closing(first.on(next(iter(first.ports)))) as node:
        node.execute_command("CLUSTER", "MEET", "127.0.0.1", *next(iter(second.ports.values())))
    for instance_id in (one, other):
        until(lambda known=instance_id: state(own_server, known)[0] == "ERROR", "nothing is reported")
    for nodes in (first, second):
        until(nodes.know_only_each_other, "the clusters are not parted")
    assert kinds(own_server) >= {"foreign_member"}


def test_a_changed_password_of_the_control_plane_is_reported(own_server: Server) -> None:
    client = own_server.client()
    instance_id = created(client, 2)
    nodes = Nodes(own_server, instance_id)
    struck = nodes.owner_of_slots()
    with closing(nodes.on(struck)) as node:
        before = node.acl_getuser("cachewright")["passwords"][0]
        node.execute_command("ACL", "SETUSER", "cachewright", "resetpass", ">another-one")
        until(lambda: state(own_server, instance_id) == ("ERROR", "DCS.9011"), "it is not noticed")
        assert f"node {struck} rejects the control plane" in own_server.log()
        node.execute_command("ACL", "SETUSER", "cachewright", "resetpass", f"#{before}")
    until(lambda: state(own_server, instance_id) == ("RUNNING", None), "the incident does not end")
    assert kinds(own_server) == {"credentials_refused"}


def test_a_node_with_another_id_is_reported(own_server: Server) -> None:
    client = own_server.client()
    instance_id = created(client, 2)
    nodes = Nodes(own_server, instance_id)
    with closing(nodes.on(nodes.owner_of_slots())) as node:
        node.execute_command("CLUSTER", "RESET", "HARD")
    until(lambda: state(own_server, instance_id) == ("ERROR", "DCS.9010"), "it is not noticed")
    until(lambda: "node_id" in kinds(own_server), "the id is not noticed")


def test_members_that_do_not_know_each_other_are_introduced(own_server: Server) -> None:
    client = own_server.client()
    instance_id = created(client, 2)
    nodes = Nodes(own_server, instance_id)
    load(cache(client, instance_id), KEYS, 10)
    own_server.kill()
    for process in own_server.nodes():
        process.terminate()
    until(lambda: not own_server.nodes(), "the nodes do not end")
    for node_id in nodes.ports:
        known = own_server.data_dir / "nodes" / node_id / "nodes.conf"
        lines = known.read_text().splitlines(keepends=True)
        known.write_text("".join(line for line in lines if "myself" in line or line.startswith("vars")))
    own_server.start()
    client = own_server.client()
    until(lambda: "missing_member" in kinds(own_server), "it is not noticed")
    until(nodes.know_only_each_other, "the members are not introduced")
    until(lambda: state(own_server, instance_id) == ("RUNNING", None), "the incident does not end")
    assert present(cache(client, instance_id), KEYS) == KEYS


def test_an_incident_outlasts_the_server(own_server: Server) -> None:
    client = own_server.client()
    instance_id = created(client, 1)
    nodes = Nodes(own_server, instance_id)
    with closing(nodes.on(nodes.owner_of_slots())) as node:
        node.execute_command("CLUSTER", "DELSLOTS", 1)
        until(lambda: state(own_server, instance_id) == ("ERROR", "DCS.9010"), "it is not noticed")
        own_server.kill()
        own_server.start()
        client = own_server.client()
        time.sleep(3)
        assert state(own_server, instance_id) == ("ERROR", "DCS.9010")
        node.execute_command("CLUSTER", "ADDSLOTS", 1)
    until(lambda: state(own_server, instance_id) == ("RUNNING", None), "the incident does not end")
    (incident,) = incidents(own_server)
    assert incident["kind"] == "uncovered_slots"
    assert incident["ended_at"] > incident["began_at"]
