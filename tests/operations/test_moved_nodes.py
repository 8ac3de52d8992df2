"""Nodes that move between hosts: a host is drained, an instance gets other zones, a host is lost and comes back."""

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from huaweicloudsdkdcs.v2 import (
    ListGroupReplicationInfoRequest,
    MigrateAzRequest,
    MigrateAZRequestBody,
)
from valkey import Valkey
from valkey.exceptions import ConnectionError as Unreachable

from agents import Hosts, hosts_on
from caches import cache, load, present
from postgres_server import PostgresServer
from sdk_calls import PASSWORD, created, ended, gone, newest_task, progress, show, tasks_of
from serving import PATIENCE_SECONDS, until
from traffic import Traffic

KEYS = 10_000
LAG_SECONDS = 2.0
"""Writes of the last moments before its death may not have left a primary that was killed."""


@pytest.fixture
def hosts(postgres: PostgresServer, tmp_path: Path) -> Iterator[Hosts]:
    options = ("--host-rebuild-seconds", "0", "--client-grace-seconds", "300")
    with hosts_on(postgres, tmp_path, ("local", "local"), *options) as made:
        yield made


def roles(client: Any, instance_id: str) -> dict[str, str]:
    """The roles of nodes by id, as the nodes report them."""
    groups = client.list_group_replication_info(ListGroupReplicationInfoRequest(instance_id=instance_id)).group_list
    return {one.node_id: one.replication_role for group in groups for one in group.replication_list}


def zones_of(client: Any, instance_id: str) -> Counter[str]:
    groups = client.list_group_replication_info(ListGroupReplicationInfoRequest(instance_id=instance_id)).group_list
    return Counter(one.az_code for group in groups for one in group.replication_list)


def moved(client: Any, instance_id: str) -> bool:
    """Whether a task that moves nodes has succeeded."""
    return any((task.name, task.status) == ("MoveNodes", "SUCCESS") for task in tasks_of(client, instance_id))


def moves_of(client: Any, instance_id: str) -> int:
    """The number of tasks that moved nodes."""
    return [task.name for task in tasks_of(client, instance_id)].count("MoveNodes")


def killed(hosts: Hosts, name: str) -> float:
    """Kill a host: its agent and its nodes. Return the time."""
    hosts.agents[name].die()
    return time.monotonic()


def writing(client: Any, instance_id: str, number: int) -> Traffic:
    shown = show(client, instance_id)
    traffic = Traffic(number, shown.port, host=shown.ip)
    traffic.start()
    until(lambda: traffic.writes > 100, "clients write")
    return traffic


def lead_on(hosts: Hosts, client: Any, instance_id: str, name: str) -> None:
    """Make the node on this host the primary of the only shard of an instance."""
    (node,) = [node for node in hosts.listed()[name]["nodes"] if node["instance_id"] == instance_id]
    if roles(client, instance_id)[node["node_id"]] == "master":
        return
    request = ListGroupReplicationInfoRequest(instance_id=instance_id)
    (group,) = client.list_group_replication_info(request).group_list
    place = f"instance/{instance_id}/groups/{group.group_id}/replications/{node['node_id']}"
    assert hosts.server.call("POST", f"{place}/async-switchover")[0] == 200
    assert ended(client, instance_id, newest_task(client, instance_id).id).status == "SUCCESS"


def stale(hosts: Hosts) -> list[str]:
    with psycopg.connect(hosts.url) as connection:
        return [row[0] for row in connection.execute("SELECT id FROM stale_nodes")]


def a_host_dies(hosts: Hosts, client: Any, instance_id: str, own: set[str]) -> None:
    """A host dies under traffic. Its nodes are made again on the others."""
    traffic = writing(client, instance_id, 0)
    died_at = killed(hosts, "h3")
    expected = {shard: ["h2", "local"] for shard in range(3)}
    until(lambda: moved(client, instance_id) and hosts.places(instance_id) == expected, "its nodes are replaced")
    assert ended(client, instance_id, newest_task(client, instance_id).id).status == "SUCCESS"
    caches = cache(client, instance_id)
    traffic.finish(caches)
    assert all(died_at - LAG_SECONDS < loss.at <= died_at for loss in traffic.losses)
    assert present(caches, KEYS) == KEYS
    assert show(client, instance_id).status == "RUNNING"
    assert set(stale(hosts)) == own


def it_comes_back(hosts: Hosts, own: set[str]) -> None:
    """It comes back, and deletes its old nodes before it takes part."""
    victim = hosts.agents["h3"]
    assert {folder.name for folder in (victim.data_dir / "nodes").iterdir() if folder.is_dir()} == own
    victim.start()
    until(lambda: hosts.listed()["h3"]["reporting"], "the host reports")
    assert stale(hosts) == []
    assert victim.nodes() == []
    assert not any(folder.is_dir() for folder in (victim.data_dir / "nodes").iterdir())


def a_host_is_drained(hosts: Hosts, client: Any, instance_id: str) -> None:
    """A drain under traffic loses no write, also if the server is killed in the middle."""
    traffic = writing(client, instance_id, 1)
    before = newest_task(client, instance_id).id
    hosts.run("hosts", "drain", "h2")
    until(lambda: newest_task(client, instance_id).id != before, "the drain begins")
    hosts.server.kill()
    hosts.server.start()
    hosts.run("hosts", "drain", "h2", "--wait")
    assert hosts.agents["h2"].nodes() == []
    task = ended(client, instance_id, newest_task(client, instance_id).id)
    assert (task.name, task.status) == ("MoveNodes", "SUCCESS")
    assert hosts.places(instance_id) == {shard: ["h3", "local"] for shard in range(3)}
    caches = cache(client, instance_id)
    traffic.finish(caches)
    assert not traffic.losses
    assert present(caches, KEYS) == KEYS


def it_gets_other_zones(hosts: Hosts, client: Any, instance_id: str) -> None:
    """MigrateAz moves one copy of each shard."""
    hosts.run("hosts", "uncordon", "h2")
    hosts.run("hosts", "label", "h2", "--zone", "az2")
    before = moves_of(client, instance_id)
    body = MigrateAZRequestBody(new_available_zones=["local", "az2"])
    client.migrate_az(MigrateAzRequest(instance_id=instance_id, body=body))
    assert ended(client, instance_id, newest_task(client, instance_id).id).status == "SUCCESS"
    hosts.run("instances", "nodes", "move", "cache", "local", "az2", "--wait")  # without effect: it is there already
    assert all("h2" in names and len(names) == 2 for names in hosts.places(instance_id).values())
    assert show(client, instance_id).az_codes == ["local", "az2"]
    assert zones_of(client, instance_id) == {"local": 3, "az2": 3}
    assert moves_of(client, instance_id) == before + 1


def answers(client: Any, instance_id: str) -> bool:
    """Whether a node answers at the address of the instance."""
    shown = show(client, instance_id)
    try:
        with Valkey(host=shown.ip, port=shown.port, password=PASSWORD) as direct:
            return bool(direct.ping())
    except Unreachable:
        return False


def a_move_is_cancelled(hosts: Hosts, client: Any, instance_id: str) -> None:
    """A replica that leaves has the address of the instance. The move ends while clients leave it."""
    shown = show(client, instance_id)
    seed, other = ("h2", "h3") if shown.ip == hosts.agents["h2"].address else ("h3", "h2")
    lead_on(hosts, client, instance_id, other)
    with Valkey(host=shown.ip, port=shown.port, password=PASSWORD).pubsub() as subscriber:
        subscriber.subscribe("news")
        hosts.run("hosts", "drain", seed)

        def waits() -> bool:
            task = newest_task(client, instance_id)
            steps = progress(client, instance_id, task.id).step_details if task.name == "MoveNodes" else []
            return any("waiting_for_clients" in sub.detail for step in steps for sub in step.sub_step_details)

        until(waits, "the node waits for its client")
        hosts.run("hosts", "uncordon", seed)
        assert ended(client, instance_id, newest_task(client, instance_id).id).status == "FAILED"
    assert hosts.places(instance_id) == {0: ["h2", "h3"]}
    assert (show(client, instance_id).ip, show(client, instance_id).port) == (shown.ip, shown.port)
    until(lambda: answers(client, instance_id), "the address of the instance is valid")


def a_host_is_given_up(hosts: Hosts, client: Any) -> None:
    """A host is given up. It had the only primary of an instance, and the only node of another one."""
    hosts.run("hosts", "label", "h2", "--zone", "local")
    hosts.run("hosts", "cordon", "local")
    hosts.run("hosts", "cordon", "h2")
    lone = created(client, 1, spec_code="redis.single.xu1.large.1")
    hosts.run("hosts", "uncordon", "h2")
    pair = created(client, 1, copies=2)
    hosts.run("hosts", "uncordon", "local")
    a_move_is_cancelled(hosts, client, pair)
    lead_on(hosts, client, pair, "h3")
    load(cache(client, pair), KEYS)
    refused = hosts.tried("hosts", "remove", "h3", "--lost")
    assert (refused.returncode, "host h3 reports" in refused.stderr) == (1, True)
    killed(hosts, "h3")
    until(lambda: not hosts.listed()["h3"]["reporting"], "the host is silent")
    assert "2 nodes are made again" in hosts.run("hosts", "remove", "h3", "--lost")
    until(lambda: moved(client, pair), "its nodes are replaced")
    assert hosts.places(pair) == {0: ["h2", "local"]}
    assert present(cache(client, pair), KEYS) == KEYS
    until(lambda: show(client, lone).status == "ERROR", "no copy of the other instance is left")
    assert hosts.server.call("DELETE", f"instances/{lone}")[0] == 204
    until(lambda: gone(client, lone), "the instance is deleted")
    until(lambda: "h3" not in hosts.listed(), "the host is removed")


def it_comes_back_too_late(hosts: Hosts) -> None:
    """It comes back, deletes what it has, and stops."""
    victim = hosts.agents["h3"]
    assert len(stale(hosts)) == 2
    victim.launch()
    assert victim.process
    assert victim.process.wait(timeout=PATIENCE_SECONDS) == 1
    assert "the database has no host h3" in victim.log()
    assert stale(hosts) == []
    assert not any(folder.is_dir() for folder in (victim.data_dir / "nodes").iterdir())


def test_nodes_move_between_hosts(hosts: Hosts) -> None:
    client = hosts.server.client()
    instance_id = created(client, 3, copies=2)
    assert all(len(set(names)) == 2 for names in hosts.places(instance_id).values())
    load(cache(client, instance_id), KEYS)
    own = {node["node_id"] for node in hosts.listed()["h3"]["nodes"]}
    assert len(own) == 2
    port = show(client, instance_id).port
    a_host_dies(hosts, client, instance_id, own)
    it_comes_back(hosts, own)
    a_host_is_drained(hosts, client, instance_id)
    it_gets_other_zones(hosts, client, instance_id)
    assert show(client, instance_id).port == port
    assert hosts.server.call("DELETE", f"instances/{instance_id}")[0] == 204
    until(lambda: gone(client, instance_id), "the instance is deleted")
    a_host_is_given_up(hosts, client)
    it_comes_back_too_late(hosts)
