"""Primary/standby and single instances on hosts whose valkey-server has TLS: nothing travels in clear between them."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from huaweicloudsdkdcs.v2 import RestoreInstanceBody, RestoreInstanceRequest
from test_ha import Writer, code, connected, needs_haproxy, resize
from test_ha_on_hosts import are_spread, host_of_primary, sentinel_processes, the_primary_is_lost

from agents import Hosts, hosts_on
from caches import cache
from postgres_server import PostgresServer
from sdk_calls import backed_up, created, ended, newest_task, show, spec, unfinished
from serving import until
from tls_binary import TLS_BINARY, needs_tls_binary
from traffic_between_hosts import Seen, watched

pytestmark = [needs_tls_binary, needs_haproxy]

KEYS = 2_000
MARK = f"secret-value-{secrets.token_hex(16)}"
WITH_TLS = ("--valkey-binary", str(TLS_BINARY))
ADDRESSES = ("127.0.0.2", "127.0.0.3")


@pytest.fixture
def hosts(postgres: PostgresServer, tmp_path: Path) -> Iterator[Hosts]:
    options, of_agents = (*WITH_TLS, "--host-rebuild-seconds", "0"), dict.fromkeys(("h2", "h3"), WITH_TLS)
    with hosts_on(postgres, tmp_path, ("local", "local"), *options, of_agents=of_agents) as made:
        yield made


class Secret:
    """Passwords of the nodes and sentinels on the hosts, and the ports at which clients reach nodes."""

    def __init__(self, hosts: Hosts) -> None:
        self._hosts = hosts
        self.words: set[str] = {MARK}

    def note(self) -> None:
        """Remember the present passwords."""
        for agent in self._hosts.agents.values():
            for place, names in (
                ("nodes/*/valkey.conf", ("primaryauth",)),
                ("sentinels/*/sentinel.conf", ("sentinel sentinel-pass", "sentinel auth-pass")),
            ):
                for file in agent.data_dir.glob(place):
                    for line in file.read_text().splitlines():
                        if line.startswith(names):
                            self.words.add(line.rpartition(" ")[2].strip('"'))


@pytest.fixture
def seen() -> Iterator[Seen]:
    try:
        with watched(ADDRESSES) as found:
            yield found
    except PermissionError:
        pytest.skip("only root can see what travels")
    assert not found.lost


def test_nothing_of_an_ha_instance_is_read_between_hosts(hosts: Hosts, seen: Seen) -> None:
    client, secret = hosts.server.client(), Secret(hosts)
    hosts.run("hosts", "cordon", "local")
    pair = created(client, 1, spec_code=code(1), capacity=1, name="pair")
    assert hosts.places(pair) == {0: ["h2", "h3"]}
    hosts.run("hosts", "uncordon", "local")
    assert {host["traffic"] for host in hosts.listed().values()} == {"encrypted"}
    until(lambda: are_spread(hosts, "local", "h2", "h3"), "the sentinels are on three hosts")
    until(lambda: know_each_other(hosts, pair), "the sentinels know each other")
    with psycopg.connect(hosts.url) as connection:
        assert [row[0] for row in connection.execute("SELECT authority IS NULL FROM sentinels")] == [False] * 3
    assert hosts.server.call("GET", f"instances/{pair}/sentinels")[1]["sentinels"] == []
    with connected(client, pair) as node:
        node.mset({f"key:{number}": MARK for number in range(KEYS)})
    secret.note()

    victim = host_of_primary(hosts, client, pair)
    the_primary_is_lost(hosts, client, pair, victim)
    hosts.agents[victim].start()
    until(lambda: hosts.listed()[victim]["reporting"], "the host reports")
    until(lambda: are_spread(hosts, "local", "h2", "h3"), "the sentinels are on three hosts again")

    for process in sentinel_processes(hosts)["h2"]:
        process.kill()
    until(lambda: are_spread(hosts, "local", "h2", "h3"), "the sentinel is started again")
    until(lambda: know_each_other(hosts, pair), "the sentinels know each other again")
    leaving = host_of_primary(hosts, client, pair)
    with Writer(client, pair) as unconfirmed:
        unconfirmed.wait_for(50)
        hosts.run("hosts", "drain", leaving, "--wait")
        unconfirmed.wait_for(50)
    assert unconfirmed.lost(connected(client, pair)) == []
    hosts.run("hosts", "uncordon", leaving)
    until(lambda: not unfinished(client, pair), "a move has not ended")
    backed_up(client, pair)
    secret.note()
    with connected(client, pair) as node:
        assert node.mget([f"key:{number}" for number in range(KEYS)]) == [MARK] * KEYS
    assert seen.ports_with(*secret.words) == set()
    assert sum(map(len, seen.streams.values())) > KEYS * len(MARK), "replicas copy all values"


def know_each_other(hosts: Hosts, instance_id: str) -> bool:
    """Whether the files of all sentinels name the two others, and the replica of the instance."""
    folders = [machine.data_dir for machine in (hosts.server, *hosts.agents.values())]
    files = [file.read_text() for folder in folders for file in folder.glob("sentinels/*/sentinel.conf")]
    known = [
        (text.count(f"known-sentinel {instance_id}"), text.count(f"known-replica {instance_id}")) for text in files
    ]
    return known == [(2, 1)] * 3


@pytest.mark.parametrize("target", ["local", "h3"])
def test_a_single_instance_moves_and_becomes_ha(hosts: Hosts, seen: Seen, target: str) -> None:
    """On the host of the server it gets a proxy, on another one its address is that of its primary."""
    client, secret = hosts.server.client(), Secret(hosts)
    with only_on(hosts, "h2"):
        lone = created(client, 1, spec_code="redis.single.xu1.large.1", capacity=1, name="lone")
    open_ports = {show(client, lone).port}
    with connected(client, lone) as node:
        node.mset({f"key:{number}": MARK for number in range(KEYS)})
    secret.note()
    with only_on(hosts, target), Writer(client, lone) as writer:
        writer.wait_for(50)
        hosts.run("hosts", "drain", "h2", "--wait")
    hosts.run("hosts", "uncordon", "h2")
    assert hosts.places(lone) == {0: [target]}
    open_ports.add(show(client, lone).port)
    assert writer.lost(connected(client, lone)) == []

    if target == "local":
        backup_id = backed_up(client, lone)
        body = RestoreInstanceBody(backup_id=backup_id)
        client.restore_instance(RestoreInstanceRequest(instance_id=lone, body=body))
        assert ended(client, lone, newest_task(client, lone).id).status == "SUCCESS"
        assert connected(client, lone).get("key:1") == MARK, "clients cannot sign in right after the restore"
    with only_on(hosts, target):
        change_type(client, lone, code(1), 1)
    open_ports.add(show(client, lone).port)
    assert hosts.places(lone) == {0: [target, target]}
    with connected(client, lone) as node:
        assert node.info("replication")["connected_slaves"] == 1
        assert node.mget([f"key:{number}" for number in range(KEYS)]) == [MARK] * KEYS
    secret.note()
    if target == "local":
        change_type(client, lone, spec(2), 2)
        assert cache(client, lone).get("key:1") == MARK.encode()
        open_ports |= client_ports(hosts, lone)
    assert {host["traffic"] for host in hosts.listed().values()} == {"encrypted"}
    assert seen.ports_with(*secret.words) <= open_ports, "clients alone write in clear"


@contextmanager
def only_on(hosts: Hosts, name: str) -> Iterator[None]:
    """Let new nodes go to one host during the `with` block."""
    others = {"local", "h2", "h3"} - {name}
    for other in others:
        hosts.run("hosts", "cordon", other)
    yield
    for other in others:
        hosts.run("hosts", "uncordon", other)


def client_ports(hosts: Hosts, instance_id: str) -> set[int]:
    nodes = [node for host in hosts.listed().values() for node in host["nodes"]]
    return {int(node["address"].rpartition(":")[2]) for node in nodes if node["instance_id"] == instance_id}


def change_type(client: Any, instance_id: str, spec_code: str, capacity: int) -> None:
    resize(client, instance_id, spec_code, capacity)
    assert ended(client, instance_id, newest_task(client, instance_id).id).status == "SUCCESS"
