"""The network cuts the host of the server and of PostgreSQL off from the two others, for longer than the server waits
before it makes nodes and sentinels again elsewhere."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import psycopg
import pytest
from valkey import Valkey

from agents import Hosts
from caches import FAULTS
from distant_hosts import distant_hosts
from following_writer import FollowingWriter, at_address, through_sentinels
from host_checks import GET_OVER_SECONDS, require_machines
from machines import LOCAL, Machine, Machines
from sdk_calls import created, show
from serving import until

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.timeout(0),
    pytest.mark.skipif("CHAOS_MINUTES" not in os.environ, reason="only with `make chaos`, which sets them"),
]

Place = tuple[str, int]


@pytest.fixture
def network(tmp_path: Path) -> Iterator[tuple[Machines, Hosts]]:
    require_machines()
    with distant_hosts(tmp_path, 2, "--haproxy", "off", "--host-rebuild-seconds", "0") as started:
        yield started


class DistantWriter(FollowingWriter):
    """A client on another machine."""

    def __init__(self, machine: Machine, places: Sequence[Place], instance_id: str) -> None:
        super().__init__(lambda: through_sentinels(places, instance_id), copies=1)
        self._machine = machine

    def run(self) -> None:
        with self._machine.entered():
            super().run()


def sentinels(hosts: Hosts) -> dict[str, Place]:
    """The address of the sentinel of each host."""
    with psycopg.connect(hosts.url) as connection:
        return {row[0]: (row[1], row[2]) for row in connection.execute("SELECT host_name, host, port FROM sentinels")}


def recorded(hosts: Hosts) -> list[tuple[str, str]]:
    with psycopg.connect(hosts.url) as connection:
        return list(connection.execute("SELECT id, host_name FROM nodes ORDER BY id"))


def know_each_other(places: Sequence[Place], instance_id: str) -> bool:
    for host, port in places:
        try:
            with at_address(host, port, username=instance_id) as sentinel:
                known = [sentinel.execute_command("SENTINEL", what, instance_id) for what in ("SENTINELS", "REPLICAS")]
        except FAULTS:
            return False
        if [len(each) for each in known] != [2, 2]:
            return False
    return True


def primary_on(hosts: Hosts, node: Valkey) -> str:
    """The name of the host of the node that answers."""
    address = node.get_connection_kwargs()["host"]
    return next(name for name, host in hosts.listed().items() if host["address"] == address)


def test_what_the_majority_has_confirmed_is_kept(network: tuple[Machines, Hosts]) -> None:
    """The primary is on the side of the server, with one sentinel. The others make a replica the primary, and go on."""
    machines, hosts = network
    client = hosts.server.client()
    for name, zone in ((LOCAL, "az1"), ("h2", "az2"), ("h3", "az3")):
        hosts.run("hosts", "label", name, "--zone", zone)
    spec = {"spec_code": "redis.ha.xu1.large.r3.1", "capacity": 1, "az_codes": ["az1", "az2", "az3"]}
    trio = created(client, 1, **spec)
    assert hosts.places(trio) == {0: ["h2", "h3", LOCAL]}
    until(lambda: sentinels(hosts).keys() == {LOCAL, "h2", "h3"}, "the sentinels are on three hosts")
    places = sentinels(hosts)
    until(lambda: know_each_other(list(places.values()), trio), "the sentinels know each other")
    assert show(client, trio).ip == machines[LOCAL].address
    nodes = recorded(hosts)

    machines.cut(LOCAL)
    with DistantWriter(machines["h2"], [places["h2"], places["h3"]], trio) as writer:
        writer.wait_for(100)
        until(lambda: not any(hosts.listed()[name]["reporting"] for name in ("h2", "h3")), "the hosts are silent")
        tried = "too few sentinels reach the primary"
        until(lambda: tried in hosts.server.log(), "nothing is replaced", GET_OVER_SECONDS)  # after `repl-timeout`
        assert sentinels(hosts) == places, "a second majority of sentinels"
        assert recorded(hosts) == nodes, "nodes of the other side were given up"
        writer.wait_for(100)
        machines.heal(LOCAL)
        until(lambda: show(client, trio).ip != machines[LOCAL].address, "the record follows", GET_OVER_SECONDS)
    assert recorded(hosts) == nodes
    until(lambda: know_each_other(list(places.values()), trio), "the sentinels know each other", GET_OVER_SECONDS)
    shown = show(client, trio)
    with at_address(shown.ip, shown.port) as node:
        assert primary_on(hosts, node) in {"h2", "h3"}
        until(lambda: node.info("replication")["connected_slaves"] == 2, "the former primary follows")
        assert writer.lost(node) == []
