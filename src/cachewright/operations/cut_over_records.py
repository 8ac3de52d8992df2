"""The transactions of the cut-over in which a single or primary/standby instance becomes a cluster.

`become_cluster` is the decision, and `restart` withdraws the cut-over. Each excludes the other: the first one that
commits wins. A thread that waits for its transaction does not end when its task is cancelled, so the cut-over also
passes an event to it, which tells that the cut-over was given up.
"""

import threading

import sqlalchemy as sa
from msgspec.structs import replace

from cachewright import errors
from cachewright.model.instances import Instance, Node
from cachewright.operations.watched_roles import set_primary
from cachewright.store import instances
from cachewright.store.database import Database
from cachewright.tasks.operation import ActionFailed
from cachewright.topologies import topology_of


def end(database: Database, primary: Node, withdrawn: threading.Event) -> None:
    """Record that the former nodes should not run, and which of them has the last writes: it starts first if they have
    to serve again. ActionFailed if the cut-over was given up."""
    with database.write() as connection:
        _require_wanted(withdrawn)
        set_primary(connection, primary.instance_id, primary.id)
        for node in instances.nodes_of(connection, primary.instance_id):
            instances.change_node(connection, node.id, should_run=False)


def restart(database: Database, instance_id: str) -> list[Node]:
    """Record that the former nodes should run again, and return those that should not. No effect if the instance is a
    cluster. Afterwards it becomes one only by another cut-over."""
    with database.write() as connection:
        instance, nodes = instances.find(connection, instance_id), instances.nodes_of(connection, instance_id)
        if instance is None or topology_of(instance.spec_code).is_cluster:
            return []
        ended = [node for node in nodes if not node.should_run]
        for node in ended:
            instances.change_node(connection, node.id, should_run=True)
        return ended


def become_cluster(database: Database, successor: Node, spec_code: str, withdrawn: threading.Event) -> None:
    """Record that the instance is a cluster: the former nodes are apart, the others are its nodes, and the successor
    has its address. ActionFailed if the former nodes serve again, or the cut-over was given up."""
    instance_id = successor.instance_id
    with database.write() as connection:
        _require_wanted(withdrawn)
        instance = instances.find(connection, instance_id)
        if instance is None:
            raise LookupError(f"instance {instance_id} does not exist")
        former, new = instances.nodes_of(connection, instance_id), instances.apart_of(connection, instance_id)
        if any(node.should_run for node in former):
            raise ActionFailed(errors.CLUSTER_NOT_HEALTHY_IN_TIME, "the former nodes serve again")
        (first,) = (node for node in new if node.id == successor.id)
        _exchange_ports(connection, instance, former, first)
        for node in former:
            instances.change_node(connection, node.id, apart=True, should_run=False)
        for node in new:
            if node.id != first.id:
                instances.change_node(connection, node.id, apart=False, should_run=True)
        instances.change(connection, instance_id, spec_code=spec_code)


def _require_wanted(withdrawn: threading.Event) -> None:
    if withdrawn.is_set():
        raise ActionFailed(errors.CLUSTER_NOT_HEALTHY_IN_TIME, "the cut-over was given up")


def _exchange_ports(connection: sa.Connection, instance: Instance, former: list[Node], first: Node) -> None:
    """Give the new node the port of the instance. The node that had it, if it is no proxy, gets that of the new node:
    no two nodes may have the same."""
    instances.remove_nodes(connection, [first.id])
    for node in former:
        if (node.host, node.port) == (instance.address, instance.seed_port):
            instances.change_node(connection, node.id, port=first.port)
    place = {"port": instance.seed_port, "apart": False, "should_run": True}
    instances.add_nodes(connection, [replace(first, **place)])
