"""Why nodes.conf is on the disk: nodes that start with an old one lose acknowledged writes. See docs/decisions/0042."""

import asyncio
import contextlib
import os
import signal
from pathlib import Path
from typing import Any

from bench.nodes import BareCluster, Job, client_of, until
from valkey.crc import key_slot
from valkey.exceptions import ValkeyError

from caches import take_over
from cachewright.config import Settings
from cachewright.hosts.local import LocalHost
from cachewright.model.instances import Node
from cachewright.valkey.config import cluster_settings
from cachewright.valkey.slots import SlotRange
from standalone_node import node_at

KEYS = 100
SLOT = key_slot(b"tag")
WRITE = "for n = 1, ARGV[1] do redis.call('SET', '{tag}:' .. ARGV[2] .. n, 'value') end"


def test_nodes_keep_nodes_conf_in_their_own_folder() -> None:
    assert "cluster-config-file" not in dict(cluster_settings(node_at(1)))


def test_a_target_with_an_old_nodes_conf_deletes_the_keys_that_it_got() -> None:
    with BareCluster(masters=2) as cluster:
        source = _owner(cluster)
        target = next(node for node in cluster.nodes if node is not source)
        _write(source, "before")
        old = _nodes_conf(cluster, target).read_text()
        cluster.migrate([Job(source, target, SlotRange(SLOT, SLOT))])
        _until_keys(target, KEYS)
        _until_keys(source, 0)
        _end(cluster, cluster.nodes)
        _nodes_conf(cluster, target).write_text(old)
        _start(cluster, cluster.nodes)
        _until_keys(target, 0)
        _until_keys(source, 0)


def test_a_shard_with_old_nodes_conf_loses_the_writes_since_a_failover() -> None:
    with BareCluster(masters=3, replicas=1) as cluster:
        primary = _owner(cluster)
        replica = next(node for node in cluster.nodes if node.shard == primary.shard and node is not primary)
        _write(primary, "before")
        _until_keys(replica, KEYS)
        old = {node.id: _nodes_conf(cluster, node).read_text() for node in cluster.nodes}
        _fail_over(replica)
        _write(replica, "after")
        _until_keys(primary, 2 * KEYS)  # it is a replica now, and ends before the last writes
        _end(cluster, [primary])
        _write(replica, "last")
        _end(cluster, [node for node in cluster.nodes if node is not primary])
        for node in cluster.nodes:
            _nodes_conf(cluster, node).write_text(old[node.id])
        _start(cluster, cluster.nodes)
        until(lambda: _role(primary) == "master" and _role(replica) == "slave")
        _until_keys(primary, 2 * KEYS)
        _until_keys(replica, 2 * KEYS)


def test_a_shard_with_its_latest_nodes_conf_keeps_these_writes() -> None:
    with BareCluster(masters=3, replicas=1) as cluster:
        primary = _owner(cluster)
        replica = next(node for node in cluster.nodes if node.shard == primary.shard and node is not primary)
        _write(primary, "before")
        _until_keys(replica, KEYS)
        _fail_over(replica)
        _until_keys(primary, KEYS)
        _end(cluster, [primary])
        _write(replica, "last")
        _end(cluster, [node for node in cluster.nodes if node is not primary])
        _start(cluster, cluster.nodes)
        until(lambda: _role(replica) == "master" and _role(primary) == "slave")
        _until_keys(primary, 2 * KEYS)
        _until_keys(replica, 2 * KEYS)


def _owner(cluster: BareCluster) -> Node:
    owned = cluster.owned()
    return next(node for node in cluster.nodes if any(SLOT in part for part in owned.get(node.id, [])))


def _nodes_conf(cluster: BareCluster, node: Node) -> Path:
    return cluster.root / "nodes" / node.id / "nodes.conf"


def _write(node: Node, name: str) -> None:
    with client_of(node) as client:
        client.execute_command("EVAL", f"#!lua flags=allow-cross-slot-keys\n{WRITE}", 0, KEYS, name)


def _fail_over(replica: Node) -> None:
    with client_of(replica) as client:
        take_over(client)


def _until_keys(node: Node, count: int) -> None:
    """Wait until the slot has this number of keys on a node."""
    until(lambda: _asked(node, "CLUSTER COUNTKEYSINSLOT", SLOT) == count)


def _role(node: Node) -> str:
    answer = _asked(node, "ROLE")
    return str(answer[0]) if answer else ""


def _asked(node: Node, *words: object) -> Any:
    """Return the reply, or None while the node loads its data or does not run."""
    with contextlib.suppress(ValkeyError), client_of(node) as client:
        return client.execute_command(*words)
    return None


def _end(cluster: BareCluster, nodes: list[Node]) -> None:
    host = LocalHost(Settings(data_dir=cluster.root))

    async def end(node: Node) -> None:
        process = await host.process(node.id)
        assert process is not None
        os.kill(process.pid, signal.SIGKILL)
        while await host.process(node.id):
            await asyncio.sleep(0.01)

    async def end_all() -> None:
        for node in nodes:
            await end(node)

    asyncio.run(end_all())


def _start(cluster: BareCluster, nodes: list[Node]) -> None:
    host = LocalHost(Settings(data_dir=cluster.root))

    async def start() -> None:
        await asyncio.gather(*(host.start(node.id) for node in nodes))

    asyncio.run(start())
