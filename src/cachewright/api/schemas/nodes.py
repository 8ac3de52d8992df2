"""Shards and nodes: ListGroupReplicationInfo, ShowReplicationStates, ShowNodesInformation, BatchShowNodesInformation,
ShowInstanceTopology. Types follow the SDK's models.

Nothing here is remembered: roles, states and counters are what the nodes said when they were asked. Ids that the cloud
has and Valkey has not follow from those that it has: the same node or shard has the same id in every answer.
"""

import uuid
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from cachewright.api.schemas.flavors import ZONE
from cachewright.model.instances import Instance, Role
from cachewright.monitoring.inspection import NodeInfo
from cachewright.topologies import topology_of

_MEGABYTE = 1024 * 1024
_BITS = 8
"""INFO counts kilobytes a second, the contract kilobits."""

CloudRole = Literal["master", "slave"]
_CLOUD_ROLES: Mapping[Role, CloudRole] = {"primary": "master", "replica": "slave"}


class Dimension(msgspec.Struct, frozen=True):
    name: str
    value: str


class Replication(msgspec.Struct, frozen=True, kw_only=True):
    """`dimensions` are those of a monitoring service, which is not served. `is_replication`: just being added."""

    replication_id: str
    replication_role: CloudRole
    replication_ip: str
    is_replication: bool = False
    node_id: str
    status: Literal["Active", "Inactive"]
    az_code: str
    dimensions: tuple[Dimension, ...] = ()


class Group(msgspec.Struct, frozen=True, kw_only=True):
    group_id: str
    group_name: str
    replication_list: list[Replication]


class GroupList(msgspec.Struct, frozen=True):
    group_list: list[Group]
    group_count: int


class LogicalNode(msgspec.Struct, frozen=True, kw_only=True):
    """`priority_weight` is the node's replica-priority; a master does not tell."""

    logical_node_id: str
    name: str
    status: Literal["Creating", "Active", "Inactive"]
    az_code: str
    node_role: str = "redis-server"
    node_type: CloudRole
    node_ip: str
    node_port: str
    node_id: str
    priority_weight: int | None
    is_access: bool = True
    group_id: str
    group_name: str
    is_remove_ip: bool = False
    replication_id: str
    dimensions: tuple[Dimension, ...] = ()


class NodeList(msgspec.Struct, frozen=True):
    instance_id: str
    total: int
    nodes: list[LogicalNode]


class InstanceNodes(msgspec.Struct, frozen=True):
    instance_id: str
    node_count: int
    nodes: list[LogicalNode]


class InstanceNodesList(msgspec.Struct, frozen=True):
    count: int
    instances: list[InstanceNodes]


class Bandwidth(msgspec.Struct, frozen=True):
    input: str
    output: str


class Keyspace(msgspec.Struct, frozen=True, kw_only=True):
    db_idx: str = "0"
    keys: str
    expires: str
    avg_ttl: str


class TopologyNode(msgspec.Struct, frozen=True, kw_only=True):
    """Memory in MB, bandwidth in kbit/s. What only the node knows is null where it does not answer. A replica's
    relation is its master."""

    node_id: str
    node_name: str
    ip: str
    port: str
    node_type: CloudRole
    max_memory: str
    used_memory: str | None
    qps: str | None
    bandwidth: Bandwidth | None
    db_num: str
    dbs: Keyspace | None
    relation_ip: str | None
    relation_port: str | None
    group_id: str
    status: Literal["Active", "Inactive"]
    dims: None = None


class Topology(msgspec.Struct, frozen=True, kw_only=True):
    """There are servers alone: no proxies, no load balancers."""

    redis_server: list[TopologyNode]
    cluster_lvs: tuple[()] = ()
    cluster_admin: tuple[()] = ()
    cluster_proxy: tuple[()] = ()
    master: tuple[()] = ()
    vpcendpoint: tuple[()] = ()
    elb: tuple[()] = ()


def groups(instance: Instance, sights: Sequence[NodeInfo]) -> GroupList:
    shards = sorted({sight.node.shard for sight in sights})
    found = [
        Group(
            group_id=group_id(instance, shard),
            group_name=group_name(shard),
            replication_list=[_replication(instance, sight) for sight in sights if sight.node.shard == shard],
        )
        for shard in shards
    ]
    return GroupList(found, len(found))


def node_list(instance: Instance, sights: Sequence[NodeInfo]) -> NodeList:
    return NodeList(instance.id, len(sights), [_logical_node(instance, sight) for sight in sights])


def instance_nodes(instance: Instance, sights: Sequence[NodeInfo]) -> InstanceNodes:
    return InstanceNodes(instance.id, len(sights), [_logical_node(instance, sight) for sight in sights])


def topology(instance: Instance, sights: Sequence[NodeInfo]) -> Topology:
    return Topology(redis_server=[_topology_node(instance, sight) for sight in sights])


def _replication(instance: Instance, sight: NodeInfo) -> Replication:
    return Replication(
        replication_id=_replication_id(instance, sight),
        replication_role=_CLOUD_ROLES[sight.role],
        replication_ip=sight.node.host,
        node_id=sight.node.id,
        status=_state(sight),
        az_code=_zone(instance),
    )


def _logical_node(instance: Instance, sight: NodeInfo) -> LogicalNode:
    being_made = sight.said is None and instance.status == "CREATING"
    priority = (sight.said or {}).get("slave_priority")
    return LogicalNode(
        logical_node_id=_replication_id(instance, sight),
        name=_name(sight),
        status="Creating" if being_made else _state(sight),
        az_code=_zone(instance),
        node_type=_CLOUD_ROLES[sight.role],
        node_ip=sight.node.host,
        node_port=str(sight.node.port),
        node_id=sight.node.id,
        priority_weight=None if priority is None else int(priority),
        group_id=group_id(instance, sight.node.shard),
        group_name=group_name(sight.node.shard),
        replication_id=_replication_id(instance, sight),
    )


def _topology_node(instance: Instance, sight: NodeInfo) -> TopologyNode:
    said = sight.said or {}
    measured = sight.said is not None
    return TopologyNode(
        node_id=sight.node.id,
        node_name=_name(sight),
        ip=sight.node.host,
        port=str(sight.node.port),
        node_type=_CLOUD_ROLES[sight.role],
        max_memory=str(sight.node.maxmemory // _MEGABYTE),
        used_memory=str(int(sight.number("used_memory")) // _MEGABYTE) if measured else None,
        qps=str(int(sight.number("instantaneous_ops_per_sec"))) if measured else None,
        bandwidth=Bandwidth(kilobits([sight], "input"), kilobits([sight], "output")) if measured else None,
        db_num=str(topology_of(instance.spec_code).databases),
        dbs=_keyspace(sight) if measured else None,
        relation_ip=said.get("master_host"),
        relation_port=said.get("master_port"),
        group_id=group_id(instance, sight.node.shard),
        status=_state(sight),
    )


def kilobits(sights: Sequence[NodeInfo], way: Literal["input", "output"]) -> str:
    """What the nodes take in or give out now, in kbit/s."""
    return f"{sum(sight.number(f'instantaneous_{way}_kbps') for sight in sights) * _BITS:.2f}"


def _keyspace(sight: NodeInfo) -> Keyspace:
    counted = {field: str(sight.keys.get(field, 0)) for field in ("keys", "expires", "avg_ttl")}
    return Keyspace(**counted)


def _state(sight: NodeInfo) -> Literal["Active", "Inactive"]:
    return "Active" if sight.said else "Inactive"


def _name(sight: NodeInfo) -> str:
    return f"{sight.node.host}:{sight.node.port}"


def _zone(instance: Instance) -> str:
    zones: list[str] = instance.attributes.get("az_codes", [ZONE])
    return zones[0]


def group_id(instance: Instance, shard: int) -> str:
    return str(uuid.uuid5(uuid.UUID(instance.id), f"shard {shard}"))


def group_name(shard: int) -> str:
    return f"group-{shard}"


def _replication_id(instance: Instance, sight: NodeInfo) -> str:
    return str(uuid.uuid5(uuid.UUID(instance.id), sight.node.id))
