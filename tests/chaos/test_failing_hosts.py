"""Hosts that their network cuts off for good, silences or slows down, and one that dies, in the middle of tasks."""

import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agents import Hosts
from caches import cache, load, present
from distant_hosts import distant_hosts
from host_checks import GET_OVER_SECONDS, Percents, require_machines, require_only_recorded, settled
from machines import LOCAL, Machines
from replicated_traffic import ReplicatedTraffic, addresses_of
from sdk_calls import backed_up, create, created, ended, gone, held_in_migration, newest_task, progress, resize, show
from serving import until

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.timeout(0),
    pytest.mark.skipif("CHAOS_MINUTES" not in os.environ, reason="only with `make chaos`, which sets them"),
]

KEYS = 5_000


@pytest.fixture
def network(tmp_path: Path) -> Iterator[tuple[Machines, Hosts]]:
    require_machines()
    with distant_hosts(tmp_path, 3, "--host-rebuild-seconds", "0", "--client-grace-seconds", "1") as started:
        yield started


def with_few_primaries(hosts: Hosts, client: Any, instance_id: str) -> str:
    """The host with the fewest primaries: the others elect replicas in place of those, if most primaries are theirs."""
    found = Counter(node.host for node in cache(client, instance_id).get_primaries())
    used = [name for name, host in hosts.listed().items() if host["node_count"]]
    return min(used, key=lambda name: found[hosts.agents[name].address])


def cut_off_for_good(network: tuple[Machines, Hosts], client: Any, instance_id: str) -> None:
    """A host is cut off while slots move, until the task has ended and its nodes are replaced. The task is retried."""
    machines, hosts = network
    name = with_few_primaries(hosts, client, instance_id)
    task_id = held_in_migration(hosts.server, client, instance_id, 4, copies=2)
    percents = Percents(client, instance_id, task_id)
    machines.cut(name)
    hosts.server.call("PUT", f"instances/{instance_id}/tasks/{task_id}/control", {})
    status = ended(client, instance_id, task_id, GET_OVER_SECONDS).status
    percents.require_steady()
    until(lambda: hosts.listed()[name]["node_count"] == 0, "its nodes are not replaced", GET_OVER_SECONDS)
    settled(client, instance_id)
    machines.heal(name)
    require_only_recorded(hosts, name)
    if status != "SUCCESS":
        assert hosts.server.call("POST", f"instances/{instance_id}/tasks/{task_id}/retry")[0] < 300
        assert ended(client, instance_id, task_id, GET_OVER_SECONDS).status == "SUCCESS"
    assert show(client, instance_id).sharding_count == 4


def silenced_while_created(network: tuple[Machines, Hosts], client: Any) -> None:
    """What a host sends is lost while an instance is created there, and deleted."""
    machines, hosts = network
    began = time.monotonic()
    instance_id = create(client, 2, copies=2, name="second")
    machines.silence("h3")
    task_id = newest_task(client, instance_id).id
    percents = Percents(client, instance_id, task_id)
    status = ended(client, instance_id, task_id, GET_OVER_SECONDS).status
    percents.require_steady()
    print(f"creation ended {status} after {time.monotonic() - began:.0f} s")
    assert show(client, instance_id).status == ("RUNNING" if status == "SUCCESS" else "CREATEFAILED")
    assert hosts.server.call("DELETE", f"instances/{instance_id}")[0] == 204
    until(lambda: gone(client, instance_id), "the instance is not deleted", GET_OVER_SECONDS)
    print(f"deleted after {time.monotonic() - began:.0f} s")
    machines.heal("h3")
    require_only_recorded(hosts, "h3")


def slow_while_backed_up(network: tuple[Machines, Hosts], client: Any, instance_id: str) -> None:
    """A round trip to a host takes a tenth of a second more, and a twentieth of them is lost."""
    machines, _ = network
    began = time.monotonic()
    machines.slow("h2", 0.05, 0.025)
    assert backed_up(client, instance_id)
    print(f"backed up after {time.monotonic() - began:.0f} s")
    task_id = resize(client, instance_id, 4, copies=2)
    assert ended(client, instance_id, task_id, GET_OVER_SECONDS).status == "SUCCESS"
    print(f"scaled out after {time.monotonic() - began:.0f} s")
    task_id = resize(client, instance_id, 3, copies=2)
    assert ended(client, instance_id, task_id, GET_OVER_SECONDS).status == "SUCCESS"
    print(f"scaled after {time.monotonic() - began:.0f} s")
    machines.heal("h2")
    settled(client, instance_id)


def dead_while_nodes_move(network: tuple[Machines, Hosts], client: Any, instance_id: str) -> None:
    """A host dies while nodes move to it, and starts again."""
    _, hosts = network
    began = time.monotonic()
    before = newest_task(client, instance_id).id
    target, *_, drained = sorted(hosts.agents, key=lambda name: hosts.listed()[name]["node_count"])
    hosts.run("hosts", "drain", drained)
    until(lambda: newest_task(client, instance_id).id != before, "the drain does not begin")
    task_id = newest_task(client, instance_id).id
    until(lambda: progress(client, instance_id, task_id).progress, "nothing has moved")
    hosts.agents[target].die()
    hosts.agents[target].start()
    until(lambda: hosts.listed()[drained]["node_count"] == 0, "the host is not drained", GET_OVER_SECONDS)
    print(f"drained after {time.monotonic() - began:.0f} s")
    settled(client, instance_id)
    for name in hosts.agents:
        require_only_recorded(hosts, name)


def test_hosts_fail_in_the_middle_of_tasks(network: tuple[Machines, Hosts]) -> None:
    _, hosts = network
    client = hosts.server.client()
    hosts.run("hosts", "cordon", LOCAL)
    instance_id = created(client, 3, copies=2)
    load(cache(client, instance_id), KEYS)
    traffic = ReplicatedTraffic(0, addresses_of(client, instance_id))
    traffic.start()
    until(lambda: traffic.writes, "clients write")
    silenced_while_created(network, client)
    settled(client, instance_id)
    slow_while_backed_up(network, client, instance_id)
    cut_off_for_good(network, client, instance_id)
    dead_while_nodes_move(network, client, instance_id)
    caches = cache(client, instance_id)
    traffic.finish(caches)
    assert traffic.writes > 100
    assert not traffic.losses
    assert present(caches, KEYS) == KEYS
