"""Clusters on hosts whose valkey-server has TLS, and on one whose valkey-server has none."""

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from huaweicloudsdkdcs.v2 import ListGroupReplicationInfoRequest
from valkey import Valkey

from agents import Hosts, hosts_on
from caches import FAULTS, authority_of, cache, cache_by_tls, links, load, present, serves, states
from migrating import content, fill, log, migrate, reaches
from outside_server import outside_server
from postgres_server import PostgresServer
from sdk_calls import PASSWORD, backed_up, create_body, created, ended, newest_task, progress, resize, show, spec
from serving import until
from tls_binary import TLS_BINARY, needs_tls_binary
from traffic import Traffic
from traffic_between_hosts import Seen, watched

pytestmark = needs_tls_binary

KEYS = 5_000
MARK = f"value-that-nobody-else-may-read-{secrets.token_hex(8)}"
WITH_TLS = ("--valkey-binary", str(TLS_BINARY))
ADDRESSES = ("127.0.0.2", "127.0.0.3")
"""Of the hosts with TLS, h2 and h3. h4 has none."""


@pytest.fixture(scope="module")
def hosts(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    folder, of_agents = tmp_path_factory.mktemp("hosts"), dict.fromkeys(("h2", "h3"), WITH_TLS)
    with hosts_on(postgres, folder, ("az2", "az3", "az4"), *WITH_TLS, of_agents=of_agents) as made:
        yield made


@pytest.fixture(scope="module")
def instance_id(hosts: Hosts) -> str:
    return created(hosts.server.client(), 2, copies=2, az_codes=["az2", "az3"])


class Plain:
    """What is seen in clear between the hosts, and where it may be."""

    def __init__(self, hosts: Hosts, seen: Seen) -> None:
        self._hosts, self._seen = hosts, seen
        self._ports: dict[str, set[int]] = {"port": set(), "tls-port": set()}

    def _settings(self) -> Iterator[dict[str, str]]:
        """Yield the configuration of each node."""
        for agent in self._hosts.agents.values():
            for conf in agent.data_dir.glob("nodes/*/valkey.conf"):
                yield dict(line.split(" ", 1) for line in conf.read_text().splitlines() if " " in line)

    def note(self) -> None:
        """Remember the ports of the nodes, some of which leave."""
        for settings in self._settings():
            for name, ports in self._ports.items():
                ports.add(int(settings[name]))

    def require(self) -> None:
        """What clients write is seen at their ports alone, and the control plane nowhere."""
        (secret,) = {settings["primaryauth"].strip('"') for settings in self._settings()}
        with_values = self._seen.ports_with(MARK)
        assert with_values, "the sniffer sees nothing"
        assert with_values <= self._ports["port"]
        assert self._seen.ports_with(secret) == set(), "the server and replicas sign in with it"
        between_nodes = sum(len(self._seen.streams[port]) for port in self._ports["tls-port"])
        assert between_nodes > KEYS * len(MARK), "replicas copy all values"


@contextmanager
def watching() -> Iterator[Seen]:
    try:
        with watched(ADDRESSES) as seen:
            yield seen
    except PermissionError:
        pytest.skip("only root can see what travels")


@pytest.fixture
def plain(hosts: Hosts) -> Iterator[Plain]:
    with watching() as seen:
        found = Plain(hosts, seen)
        yield found
    assert not seen.lost
    found.require()


def test_a_migration_reaches_nodes_by_tls(hosts: Hosts, tmp_path: Path) -> None:
    """The agent that copies the keys knows the control plane's certificate, not the key of the authority."""
    client = hosts.server.client()
    target = created(client, 2, az_codes=["az2", "az3"], name="migrated")
    with outside_server(tmp_path) as source:
        fill(source.client(), 300)
        for number in range(50):
            source.client().set(f"marked:{number}", MARK)
        with watching() as seen:
            migration_id = migrate(client, target, source.address, follow=False)
            reaches(client, migration_id, "SUCCESS")
        assert content(cache(client, target)) == content(source.client())
    (entry,) = (entry for entry in log(client, migration_id) if entry.startswith("keys are copied by host"))
    host = entry.rpartition(" ")[2]
    assert host in {"h2", "h3"}
    nodes = [node for node in hosts.listed()[host]["nodes"] if node["instance_id"] == target]
    own_ports = {int(node["address"].rpartition(":")[2]) for node in nodes}
    assert seen.ports_with(MARK) <= own_ports, "a gateway sends keys without TLS on its own machine alone"
    assert hosts.server.call("DELETE", f"instances/{target}")[0] == 204


def gentle_resize(hosts: Hosts, instance_id: str, shards: int) -> str:
    body = {"spec_code": spec(shards, copies=2), "new_capacity": shards, "migration_mode": "gentle"}
    assert hosts.server.call("POST", f"instances/{instance_id}/resize", body)[0] == 204
    return str(newest_task(hosts.server.client(), instance_id).id)


def lead_on_h3(hosts: Hosts, client: Any, instance_id: str, shards: int) -> None:
    """Make replicas on h3 the primaries of so many shards."""
    request = ListGroupReplicationInfoRequest(instance_id=instance_id)
    groups = client.list_group_replication_info(request).group_list
    there = {node["node_id"] for node in hosts.listed()["h3"]["nodes"]}
    for group in groups[:shards]:
        (replica,) = [one.node_id for one in group.replication_list if one.node_id in there]
        place = f"instance/{instance_id}/groups/{group.group_id}/replications/{replica}"
        assert hosts.server.call("POST", f"{place}/async-switchover")[0] == 200
        assert ended(client, instance_id, newest_task(client, instance_id).id).status == "SUCCESS"


def leads_of(host: str, port: int) -> int:
    """How many primaries with slots are on this host and reachable, as one of its nodes sees it."""
    with Valkey(host=host, port=port, password=PASSWORD, decode_responses=True) as node:
        lines = node.execute_command("CLUSTER NODES")
    there = [line for place, line in lines.items() if place.startswith(f"{host}:") and line["slots"]]
    return sum("master" in line["flags"] and "fail" not in line["flags"] for line in there)


def test_nobody_reads_what_travels_between_hosts(hosts: Hosts, instance_id: str, plain: Plain) -> None:
    client = hosts.server.client()
    assert {host["traffic"] for name, host in hosts.listed().items() if name != "h4"} == {"encrypted"}
    caches = cache(client, instance_id)
    for number in range(KEYS):
        caches.set(f"key:{number}", MARK)
    shown = show(client, instance_id)
    traffic = Traffic(0, shown.port, host=shown.ip)
    traffic.start()
    plain.note()
    assert ended(client, instance_id, resize(client, instance_id, 3, copies=2)).status == "SUCCESS"
    plain.note()
    traffic.finish(cache(client, instance_id))
    assert not traffic.losses
    assert traffic.writes > 100

    lead_on_h3(hosts, client, instance_id, 2)
    (port, *_) = [int(node["address"].rpartition(":")[2]) for node in hosts.listed()["h3"]["nodes"]]
    assert leads_of("127.0.0.3", port) == 2
    h2 = hosts.agents["h2"]
    h2.die()
    until(lambda: leads_of("127.0.0.3", port) == 3, "no replica takes over from the dead primary")
    h2.start()
    until(lambda: len(h2.nodes()) == 3, "nodes are not started again")
    until(lambda: serves(client, instance_id), "the cluster is not whole again")
    until(lambda: show(client, instance_id).status == "RUNNING", "the server does not reach its nodes")

    assert ended(client, instance_id, gentle_resize(hosts, instance_id, 2)).status == "SUCCESS"
    backed_up(client, instance_id)
    assert present(cache(client, instance_id), KEYS) == KEYS


def test_clients_use_tls_on_other_hosts_and_nodes_move(hosts: Hosts, instance_id: str, tmp_path: Path) -> None:
    server, client = hosts.server, hosts.server.client()
    load(cache(client, instance_id), KEYS)

    def switch(*, enabled: bool) -> str:
        return str(server.call("PUT", f"instances/{instance_id}/ssl", {"enabled": enabled})[1]["job_id"])

    task_id = switch(enabled=True)
    until(lambda: progress(client, instance_id, task_id).step_details[-1].step_name == "Post-check.", "no plan")
    server.kill()
    server.start()
    client = server.client()
    assert ended(client, instance_id, task_id).status == "SUCCESS", server.call("GET", f"tasks/{task_id}")
    authority = authority_of(client, instance_id, tmp_path)

    def is_whole(nodes: int) -> bool:
        try:
            caches = cache_by_tls(client, instance_id, authority)
            return (states(caches), links(caches), len(caches.get_nodes())) == ({"ok"}, {"up"}, nodes)
        except FAULTS:  # while nodes start
            return False

    until(lambda: is_whole(4), "the cluster is not whole after the switch")
    assert not serves(client, instance_id), "clients without TLS are refused"
    assert ended(client, instance_id, resize(client, instance_id, 3, copies=2)).status == "SUCCESS"
    until(lambda: is_whole(6), "the cluster is not whole with more nodes")
    hosts.agents["h3"].nodes()[0].kill()
    until(lambda: len(hosts.agents["h3"].nodes()) == 3 and is_whole(6), "a node is not started again")
    assert (
        server.call("PUT", f"instances/{instance_id}/available-zones", {"new_available_zones": ["az2", "local"]})[0]
        == 204
    )
    assert ended(client, instance_id, newest_task(client, instance_id).id).status == "SUCCESS"
    places = hosts.places(instance_id)
    assert {name for names in places.values() for name in names} == {"h2", "local"}
    until(lambda: is_whole(6), "the cluster is not whole after the moves")
    assert present(cache_by_tls(client, instance_id, authority), KEYS) == KEYS
    assert ended(client, instance_id, switch(enabled=False)).status == "SUCCESS"
    until(lambda: serves(client, instance_id), "the cluster is not whole without TLS of clients")
    assert present(cache(client, instance_id), KEYS) == KEYS


def test_a_host_without_tls_is_named(hosts: Hosts) -> None:
    server, client = hosts.server, hosts.server.client()
    refused = server.call("POST", "instances", body_with_tls())
    assert (refused[0], refused[1]["error_code"]) == (400, "DCS.4036")
    assert "valkey-server does not have on h4" in refused[1]["error_msg"]
    instance_id = created(client, 2, az_codes=["az3", "az4"], copies=2)
    shown = {row["name"]: row["traffic"] for row in json.loads(hosts.run("hosts", "list", "--json"))}
    assert shown["h4"] == "plain: valkey-server has no TLS"
    assert shown["h3"].startswith("plain for 2 of ")
    states_of_hosts = {found["name"]: found["state"] for found in json.loads(hosts.tried("doctor", "--json").stdout)}
    assert states_of_hosts["traffic"] == "warn"
    assert 'cachewright_host_plain_nodes{host="h4"} 2.0' in server.metrics()
    refused = server.call("PUT", f"instances/{instance_id}/ssl", {"enabled": True})
    assert refused[1]["error_code"] == "DCS.4202"


def body_with_tls() -> Any:
    wished = create_body(1, az_codes=["az4"], enable_ssl=True)
    return {name: value for name, value in wished.to_dict().items() if value is not None}
