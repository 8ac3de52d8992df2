"""Rebalance: moves of nodes that use all hosts alike."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import sqlalchemy as sa

from cachewright.errors import ApiError
from cachewright.model.hosts import EMBEDDED, HostRecord
from cachewright.model.identity import Principal
from cachewright.model.instances import Node
from cachewright.operations import acceptance, node_placement
from cachewright.operations.move_nodes import MOVE_NODES, immovable
from cachewright.operations.requests import MoveRequest, NodeMove
from cachewright.placement.rebalance import HostUse, PlannedMove, rebalance
from cachewright.services.hosts import silent_seconds
from cachewright.services.new_tasks import add_task
from cachewright.store import hosts, incidents, instances, server_records, tasks

_SYSTEM = "system"


def plan(connection: sa.Connection) -> list[PlannedMove]:
    """Return the moves that a rebalance makes now."""
    held, now = node_placement.allocated_by_host(connection), server_records.now(connection)
    uses = [
        HostUse(
            name=host.name,
            address=host.address,
            zone=host.zone,
            memory=host.report.memory,
            allocated=held[host.name].host_memory if host.name in held else 0,
            tls=host.report.tls,
        )
        for host in hosts.every(connection)
        if host.report is not None and _takes_nodes(host, now)
    ]
    of_instance: dict[str, list[Node]] = defaultdict(list)
    for node in instances.all_nodes(connection):
        if not node.apart:
            of_instance[node.instance_id].append(node)
    movable = [
        instance.id
        for instance in instances.in_statuses(connection, MOVE_NODES.accepts)
        if not immovable(instance, of_instance[instance.id])
    ]
    nodes = [node for instance_id in sorted(movable) for node in of_instance[instance_id]]
    return rebalance(uses, nodes)


def start(connection: sa.Connection, moves: Sequence[PlannedMove]) -> Mapping[str, str]:
    """Store a task for each instance with moves, which the server begins within seconds. Return the reasons for which
    instances were left as they are, by their ids."""
    by_instance: dict[str, list[PlannedMove]] = defaultdict(list)
    for move in moves:
        by_instance[move.node.instance_id].append(move)
    refused = {}
    for instance_id, of_instance in by_instance.items():
        instance = instances.find(connection, instance_id)
        if instance is None:
            continue
        nodes, unfinished = instances.nodes_of(connection, instance_id), tasks.unfinished_of(connection, instance_id)
        wanted = tuple(NodeMove(move.node.id, move.to) for move in of_instance)
        request = MoveRequest(cause="rebalance", moves=wanted)
        try:
            faults = incidents.open_of(connection, instance_id)
            acceptance.require_acceptable(MOVE_NODES, instance, unfinished, faults)
            accepted = MOVE_NODES.validate(instance, nodes, request)
        except ApiError as refusal:
            refused[instance_id] = refusal.message
            continue
        owner = Principal(project_id=instance.project_id, user_id="", user_name=_SYSTEM)
        add_task(connection, MOVE_NODES, owner, instance, accepted)
    return refused


def _takes_nodes(host: HostRecord, now: int) -> bool:
    reports = host.name == EMBEDDED or silent_seconds(host, now) is None
    return host.state == "active" and reports
