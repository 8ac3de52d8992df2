"""A host that the network cuts off. Its nodes serve the clients beside them for a while, and do not answer others at
all, while a dead host refuses connections. `tests/chaos` has other faults."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agents import Hosts
from caches import cache, load, present
from distant_hosts import distant_hosts
from host_checks import (
    GET_OVER_SECONDS,
    Percents,
    recorded_nodes,
    require_machines,
    require_only_recorded,
    running_nodes,
    settled,
)
from machines import LOCAL, Machines
from replicated_traffic import NeighbourOfPrimary, ReplicatedTraffic, addresses_of
from sdk_calls import (
    created,
    ended,
    gone,
    held_in_migration,
)
from serving import until

KEYS = 5_000
LAG_SECONDS = 2.0
"""Writes of the last moments may not have left a primary when its host is cut off."""

ISOLATION_SECONDS = 15.0
"""Longer than a primary that has lost the others accepts writes: twice `cluster-node-timeout`, and a busy machine."""


@pytest.fixture
def network(tmp_path: Path) -> Iterator[tuple[Machines, Hosts]]:
    require_machines()
    with distant_hosts(tmp_path, 3, "--host-rebuild-seconds", "0", "--client-grace-seconds", "1") as started:
        yield started


def beside_primary(network: tuple[Machines, Hosts], client: Any, instance_id: str, name: str) -> NeighbourOfPrimary:
    """A client on a host that writes to the primary there."""
    machine, caches = network[0][name], cache(client, instance_id)
    node = next(node for node in caches.get_primaries() if node.host == machine.address)
    key = next(key for key in (f"beside:{number}" for number in range(10_000)) if caches.get_node_from_key(key) == node)
    started = NeighbourOfPrimary(machine, int(node.port), key)
    started.start()
    until(lambda: started.acknowledged, "the client beside the primary writes")
    return started


def cut_off_while_scaled(network: tuple[Machines, Hosts], client: Any, instance_id: str) -> None:
    """A host is cut off while slots move, and comes back. Its primary is replaced, and stops accepting writes."""
    machines, hosts = network
    task_id = held_in_migration(hosts.server, client, instance_id, 4, copies=2)
    percents = Percents(client, instance_id, task_id)
    beside = beside_primary(network, client, instance_id, "h4")
    machines.cut("h4")
    cut_at = time.monotonic()
    hosts.server.call("PUT", f"instances/{instance_id}/tasks/{task_id}/control", {})
    beside.join(GET_OVER_SECONDS)
    assert "CLUSTERDOWN" in str(beside.refusal), beside.refusal
    until(lambda: not hosts.listed()["h4"]["reporting"], "the host reports")
    machines.heal("h4")
    assert ended(client, instance_id, task_id, GET_OVER_SECONDS).status == "SUCCESS"
    percents.require_steady()
    settled(client, instance_id)
    require_only_recorded(hosts, "h4")
    lost = beside.lost(int(cache(client, instance_id).get(beside.key) or 0))
    after = beside.acknowledged[-1].at - cut_at
    assert after < ISOLATION_SECONDS
    assert all(cut_at - LAG_SECONDS < write.at for write in lost)


def cut_off_and_replaced(network: tuple[Machines, Hosts], client: Any, instance_id: str) -> None:
    """The nodes of a host that is cut off are made again on others. It comes back, and deletes its own."""
    machines, hosts = network
    own = recorded_nodes(hosts, "h4")
    machines.cut("h4")
    until(lambda: hosts.listed()["h4"]["node_count"] == 0, "its nodes are not replaced", GET_OVER_SECONDS)
    settled(client, instance_id)
    assert running_nodes(hosts, "h4") == own
    machines.heal("h4")
    require_only_recorded(hosts, "h4")


def test_a_host_is_cut_off(network: tuple[Machines, Hosts]) -> None:
    _, hosts = network
    client = hosts.server.client()
    hosts.run("hosts", "cordon", LOCAL)
    instance_id = created(client, 3, copies=2)
    load(cache(client, instance_id), KEYS)
    traffic = ReplicatedTraffic(0, addresses_of(client, instance_id))
    traffic.start()
    until(lambda: traffic.writes, "clients write")
    cut_off_while_scaled(network, client, instance_id)
    cut_off_and_replaced(network, client, instance_id)
    caches = cache(client, instance_id)
    traffic.finish(caches)
    assert traffic.writes > 100
    assert not traffic.losses
    assert present(caches, KEYS) == KEYS
    assert hosts.server.call("DELETE", f"instances/{instance_id}")[0] == 204
    until(lambda: gone(client, instance_id), "the instance is not deleted")
    assert not any(agent.nodes() for agent in hosts.agents.values())
