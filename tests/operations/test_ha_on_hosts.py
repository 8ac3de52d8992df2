"""Primary/standby and single instances on several hosts, and the sentinels, when hosts die and are drained."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from huaweicloudsdkdcs.v2 import MigrateAzRequest, MigrateAZRequestBody
from test_ha import Writer, code, connected, needs_haproxy, primary
from test_node_status import weigh
from valkey import Valkey
from valkey.exceptions import ValkeyError

from agents import VARIABLE, Hosts, hosts_on, own_role
from following_writer import FollowingWriter, through_sentinels
from postgres_server import PostgresServer
from sdk_calls import PASSWORD, created, ended, newest_task, show
from serving import PATIENCE_SECONDS, until

KEYS = 5_000


@pytest.fixture
def hosts(postgres: PostgresServer, tmp_path: Path) -> Iterator[Hosts]:
    with hosts_on(postgres, tmp_path, ("local", "local"), "--host-rebuild-seconds", "0") as made:
        yield made


@pytest.fixture
def hosts_without_proxies(postgres: PostgresServer, tmp_path: Path) -> Iterator[Hosts]:
    """Nodes of lost hosts are not made again."""
    with hosts_on(postgres, tmp_path, ("local", "local"), "--haproxy", "off", "--host-rebuild-seconds", "3600") as made:
        yield made


class WaitingWriter(Writer):
    """Counts a write as acknowledged only if a replica has it, too."""

    def write(self, node: Valkey, number: int) -> bool:
        with node.pipeline(transaction=False) as both:  # on one connection
            both.set(f"written:{number}", number)
            both.execute_command("WAIT", 1, 1000)
            done, replicas = both.execute(raise_on_error=True)
        return bool(done and replicas >= 1)


def sentinel_places(hosts: Hosts, instance_id: str) -> list[tuple[str, int]]:
    """Addresses of the sentinels, as clients of an instance learn them."""
    status, body = hosts.server.call("GET", f"instances/{instance_id}/sentinels")
    assert status == 200
    return [(one["ip"], one["port"]) for one in body["sentinels"]]


def sentinel_processes(hosts: Hosts) -> dict[str, list[psutil.Process]]:
    every = {"local": hosts.server, **hosts.agents}
    return {
        name: [process for process in machine.nodes() if "--sentinel" in process.info["cmdline"]]
        for name, machine in every.items()
    }


def are_spread(hosts: Hosts, *names: str) -> bool:
    """Whether these hosts have one sentinel each, which runs, and others none."""
    running = {name for name, found in sentinel_processes(hosts).items() if len(found) == 1}
    return hosts.sentinels() == dict.fromkeys(names, 1) and running == set(names)


def host_of_primary(hosts: Hosts, client: Any, instance_id: str) -> str:
    lead = primary(client, instance_id)
    (name,) = [name for name, host in hosts.listed().items() if any(node["node_id"] == lead for node in host["nodes"])]
    return name


def is_degraded(client: Any, hosts: Hosts, instance_id: str) -> bool:
    incidents = hosts.server.call("GET", f"instances/{instance_id}/state")[1].get("incidents", [])
    return any(incident["kind"] == "silent_host" for incident in incidents)


def knows_replicas(hosts: Hosts, instance_id: str, number: int) -> bool:
    """Whether each sentinel watches the instance, and knows the two others and exactly so many replicas."""
    with psycopg.connect(hosts.url) as connection:
        (places,) = [list(connection.execute("SELECT host, port FROM sentinels"))]
    assert len(places) == 3
    assert set(sentinel_places(hosts, instance_id)) == set(places)
    for host, port in places:
        options = {"username": instance_id, "password": PASSWORD, "decode_responses": True, "socket_timeout": 5}
        try:
            with Valkey(host=host, port=port, **options) as sentinel:
                replicas = sentinel.execute_command("SENTINEL", "REPLICAS", instance_id)
                others = sentinel.execute_command("SENTINEL", "SENTINELS", instance_id)
        except (ValkeyError, OSError):
            return False
        if (len(replicas), len(others)) != (number, 2):
            return False
    return True


@needs_haproxy
def test_ha_and_single_instances_live_on_several_hosts(hosts: Hosts) -> None:
    client = hosts.server.client()
    hosts.run("hosts", "cordon", "local")
    pair = created(client, 1, spec_code=code(1), capacity=1, name="pair")
    address = show(client, pair).ip, show(client, pair).port
    assert hosts.places(pair) == {0: ["h2", "h3"]}
    assert address[0] == "127.0.0.1"  # its proxy is on the host of the server
    hosts.run("hosts", "uncordon", "local")
    until(lambda: are_spread(hosts, "local", "h2", "h3"), "the sentinels are on three hosts")
    until(lambda: knows_replicas(hosts, pair, 1), "the sentinels know each other")
    a_sentinel_dies(hosts)

    victim = host_of_primary(hosts, client, pair)
    own = {node["node_id"] for node in hosts.listed()[victim]["nodes"]}
    a_host_dies_with_the_primary(hosts, client, pair, victim)
    assert (show(client, pair).ip, show(client, pair).port) == address
    it_comes_back(hosts, victim, own)
    until(lambda: knows_replicas(hosts, pair, 1), "the sentinels forget what is gone")

    a_host_is_drained(hosts, client, pair)
    it_gets_other_zones(hosts, client, pair)
    assert (show(client, pair).ip, show(client, pair).port) == address


def a_sentinel_dies(hosts: Hosts) -> None:
    (process,) = sentinel_processes(hosts)["h2"]
    process.kill()

    def is_back() -> bool:
        found = sentinel_processes(hosts)["h2"]
        return len(found) == 1 and found[0].pid != process.pid

    until(is_back, "the sentinel is started again")


def a_host_dies_with_the_primary(hosts: Hosts, client: Any, pair: str, victim: str) -> None:
    """Another node takes over, with all writes that were on it. The lost copy and the sentinel are made again."""
    the_primary_is_lost(hosts, client, pair, victim)
    until(lambda: not hosts.sentinels()[victim], "the sentinel has another host")
    until(lambda: sum(map(len, sentinel_processes(hosts).values())) == 3, "it runs there")
    until(lambda: knows_replicas(hosts, pair, 1), "it watches the instance")
    until(lambda: not is_degraded(client, hosts, pair), "the incident ends")
    assert show(client, pair).status == "RUNNING"


def the_primary_is_lost(hosts: Hosts, client: Any, pair: str, victim: str) -> None:
    """A host dies under confirmed writes, of which none is lost, and its node is made again on that of the server."""
    staying = {"h2": "h3", "h3": "h2"}[victim]
    with WaitingWriter(client, pair) as writer:
        writer.wait_for(50)
        hosts.agents[victim].die()
        until(lambda: is_degraded(client, hosts, pair), "the instance has an incident")
        until(lambda: hosts.places(pair) == {0: sorted(["local", staying])}, "the copy is made again")
        assert ended(client, pair, newest_task(client, pair).id).status == "SUCCESS"
        writer.wait_for(50)
    assert writer.lost(connected(client, pair)) == []


def it_comes_back(hosts: Hosts, victim: str, own: set[str]) -> None:
    """It deletes what runs elsewhere now before it takes part, and gets a sentinel again."""
    agent = hosts.agents[victim]
    assert {folder.name for folder in (agent.data_dir / "nodes").iterdir() if folder.is_dir()} == own
    agent.start()
    until(lambda: hosts.listed()[victim]["reporting"], "the host reports")
    assert not any(folder.is_dir() for folder in (agent.data_dir / "nodes").iterdir())
    until(lambda: are_spread(hosts, "local", "h2", "h3"), "the sentinels are on three hosts again")


def a_host_is_drained(hosts: Hosts, client: Any, pair: str) -> None:
    """The host with the primary and a single instance is drained under writes: none is lost."""
    leaving = host_of_primary(hosts, client, pair)
    for name in {"local", "h2", "h3"} - {leaving}:
        hosts.run("hosts", "cordon", name)
    lone = created(client, 1, spec_code="redis.single.xu1.large.1", capacity=1, name="lone")
    for name in {"local", "h2", "h3"} - {leaving}:
        hosts.run("hosts", "uncordon", name)
    assert hosts.places(lone) == {0: [leaving]}
    former = show(client, lone)
    with connected(client, lone) as node:
        node.mset({f"key:{number}": number for number in range(KEYS)})
    with Writer(client, pair) as writer, Writer(client, lone) as of_lone:
        writer.wait_for(50)
        of_lone.wait_for(50)
        printed = hosts.run("hosts", "drain", leaving, "--wait")
        writer.wait_for(50)
    assert "stays" not in printed
    assert hosts.places(lone)[0] != [leaving]
    assert leaving not in hosts.places(pair)[0]
    assert len(set(hosts.places(pair)[0])) == 2
    assert hosts.sentinels()[leaving] == 0
    assert writer.lost(connected(client, pair)) == []
    moved = show(client, lone)
    assert (moved.ip, moved.port) != (former.ip, former.port)
    with connected(client, lone) as node:
        assert of_lone.lost(node) == []
        assert node.mget([f"key:{number}" for number in range(KEYS)]) == [str(number) for number in range(KEYS)]
        assert node.set("after", "the move")
    if leaving != "local":
        until(lambda: hosts.agents[leaving].nodes() == [], "nothing is left on the host")
        assert hosts.tried("hosts", "remove", leaving).returncode == 0
        agent = hosts.agents[leaving]
        assert agent.process
        assert agent.process.wait(timeout=PATIENCE_SECONDS) == 0  # an agent without a host stops
        hosts.run("hosts", "add", leaving, "--zone", "local")
        agent.environment[VARIABLE] = own_role(hosts.server, leaving)  # the former one ended with the host
        agent.start()
        until(lambda: hosts.listed()[leaving]["reporting"], "the host reports")
    else:
        hosts.run("hosts", "uncordon", leaving)


def it_gets_other_zones(hosts: Hosts, client: Any, pair: str) -> None:
    """MigrateAz moves the primary to the first zone or leaves it, and one copy to the other."""
    hosts.run("hosts", "label", "h2", "--zone", "az2")
    hosts.run("hosts", "label", "h3", "--zone", "az3")
    with Writer(client, pair) as writer:
        writer.wait_for(20)
        body = MigrateAZRequestBody(new_available_zones=["az2", "az3"])
        client.migrate_az(MigrateAzRequest(instance_id=pair, body=body))
        assert ended(client, pair, newest_task(client, pair).id).status == "SUCCESS"
        writer.wait_for(20)
    assert hosts.places(pair) == {0: ["h2", "h3"]}
    assert writer.lost(connected(client, pair)) == []


def test_clients_of_sentinels_survive_the_loss_of_two_of_three_hosts(hosts_without_proxies: Hosts) -> None:
    """The sentinels replace the first primary. For the second one too few are left: the operator gives the hosts up,
    and the last copy takes over, with every write that it has confirmed."""
    hosts, client = hosts_without_proxies, hosts_without_proxies.server.client()
    trio = created(client, 1, spec_code=code(1, 3), capacity=1, name="trio")
    assert hosts.places(trio) == {0: ["h2", "h3", "local"]}
    assert host_of_primary(hosts, client, trio) == "h2"
    until(lambda: are_spread(hosts, "local", "h2", "h3"), "the sentinels are on three hosts")
    until(lambda: knows_replicas(hosts, trio, 2), "the sentinels know each other")
    (heir,) = [node["node_id"] for node in hosts.listed()["h3"]["nodes"]]
    weigh(client, hosts.server, trio, heir, 1)

    places = sentinel_places(hosts, trio)
    with FollowingWriter(lambda: through_sentinels(places, trio), copies=1) as writer:
        writer.wait_for(50)
        hosts.agents["h2"].die()
        writer.wait_for(50)
        until(lambda: show(client, trio).ip == hosts.agents["h3"].address, "the address follows the primary")
    with connected(client, trio) as node:
        assert writer.lost(node) == []

    hosts.agents["h3"].die()
    until(lambda: not hosts.listed()["h3"]["reporting"], "the host is silent")
    assert host_of_primary(hosts, client, trio) == "h3", "one of three sentinels makes no primary"
    for name in ("h3", "h2"):
        assert "1 nodes are made again" in hosts.run("hosts", "remove", name, "--lost")
    until(lambda: show(client, trio).ip != hosts.agents["h3"].address, "the last copy takes over")
    with connected(client, trio) as node:
        assert writer.lost(node) == []
    until(lambda: hosts.places(trio) == {0: ["local"] * 3}, "the others are made again")
    until(lambda: knows_replicas(hosts, trio, 2), "the sentinels are made again")
    until(lambda: hosts.listed().keys() == {"local"}, "the hosts are removed")
    assert host_of_primary(hosts, client, trio) == "local"
    places = sentinel_places(hosts, trio)
    with FollowingWriter(lambda: through_sentinels(places, trio), copies=1) as later:
        later.wait_for(50)
    assert later.lost(connected(client, trio)) == []
