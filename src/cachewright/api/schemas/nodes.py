"""Shards and nodes: ListGroupReplicationInfo, ShowReplicationStates, ShowNodesInformation, BatchShowNodesInformation,
ShowInstanceTopology, ValidateDeletableReplica. Types follow the SDK's models.

Roles, states and counters come from the nodes at the time of the request. Ids that Valkey lacks are derived from its
ids, so that a node or a shard has the same id in all responses.
"""

import uuid
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from cachewright.flavors import MEGABYTE
from cachewright.model.instances import Instance, Role, group_id
from cachewright.monitoring.inspection import NodeInfo
from cachewright.topologies import topology_of

_LEAST_WITH_FAILOVER = 2
"""Nodes of the smallest primary/standby instance."""

_BITS = 8
"""INFO has kilobytes per second, the contract kilobits."""

CloudRole = Literal["master", "slave"]
CLOUD_ROLES: Mapping[Role, CloudRole] = {"primary": "master", "replica": "slave"}


class Dimension(msgspec.Struct, frozen=True):
    name: str
    value: str


class Replication(msgspec.Struct, frozen=True, kw_only=True):
    """`dimensions` are for a monitoring service that is not supported. `is_replication` means that the node is being
    added."""

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


class DeletableReplica(msgspec.Struct, frozen=True, kw_only=True):
    replication_id: str
    node_id: str
    replication_ip: str
    group_id: str
    group_name: str
    available_zone: str


class DeletableReplicas(msgspec.Struct, frozen=True):
    """Replicas that a resize can remove. `available_zone` is their zone, or empty without such replicas."""

    check_result: bool
    available_zone: str
    replication_list: list[DeletableReplica]


class LogicalNode(msgspec.Struct, frozen=True, kw_only=True):
    """`priority_weight` is null for primaries."""

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
    """Memory in MB, bandwidth in kbit/s. Values from the node are null if it does not respond. The relation of a
    replica is its primary."""

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
    """The nodes of an instance. Instances have no proxies and no load balancers."""

    redis_server: list[TopologyNode]
    cluster_lvs: tuple[()] = ()
    cluster_admin: tuple[()] = ()
    cluster_proxy: tuple[()] = ()
    master: tuple[()] = ()
    vpcendpoint: tuple[()] = ()
    elb: tuple[()] = ()


def groups(instance: Instance, infos: Sequence[NodeInfo]) -> GroupList:
    shards = sorted({info.node.shard for info in infos})
    group_list = [
        Group(
            group_id=group_id(instance.id, shard),
            group_name=group_name(shard),
            replication_list=[_replication(instance, info) for info in infos if info.node.shard == shard],
        )
        for shard in shards
    ]
    return GroupList(group_list, len(group_list))


def deletable_replicas(instance: Instance, infos: Sequence[NodeInfo]) -> DeletableReplicas:
    """Return all replicas except one that has the address of the instance, which stays, and the last one of a
    primary/standby instance."""
    is_last = topology_of(instance.spec_code).has_sentinel and len(infos) <= _LEAST_WITH_FAILOVER
    replicas = [
        DeletableReplica(
            replication_id=_replication_id(instance, info),
            node_id=info.node.id,
            replication_ip=info.node.host,
            group_id=group_id(instance.id, info.node.shard),
            group_name=group_name(info.node.shard),
            available_zone=info.zone,
        )
        for info in infos
        if info.role == "replica"
        and (info.node.host, info.node.port) != (instance.address, instance.seed_port)
        and instance.status == "RUNNING"
        and not is_last
    ]
    return DeletableReplicas(bool(replicas), replicas[0].available_zone if replicas else "", replicas)


def node_list(instance: Instance, infos: Sequence[NodeInfo]) -> NodeList:
    return NodeList(instance.id, len(infos), [_logical_node(instance, info) for info in infos])


def instance_nodes(instance: Instance, infos: Sequence[NodeInfo]) -> InstanceNodes:
    return InstanceNodes(instance.id, len(infos), [_logical_node(instance, info) for info in infos])


def topology(instance: Instance, infos: Sequence[NodeInfo]) -> Topology:
    return Topology(redis_server=[_topology_node(instance, info) for info in infos])


def _replication(instance: Instance, info: NodeInfo) -> Replication:
    return Replication(
        replication_id=_replication_id(instance, info),
        replication_role=CLOUD_ROLES[info.role],
        replication_ip=info.node.host,
        node_id=info.node.id,
        status=_state(info),
        az_code=info.zone,
    )


def _logical_node(instance: Instance, info: NodeInfo) -> LogicalNode:
    is_created = info.fields is None and instance.status == "CREATING"
    return LogicalNode(
        logical_node_id=_replication_id(instance, info),
        name=_name(info),
        status="Creating" if is_created else _state(info),
        az_code=info.zone,
        node_type=CLOUD_ROLES[info.role],
        node_ip=info.node.host,
        node_port=str(info.node.port),
        node_id=info.node.id,
        priority_weight=info.node.priority if info.role == "replica" else None,
        group_id=group_id(instance.id, info.node.shard),
        group_name=group_name(info.node.shard),
        replication_id=_replication_id(instance, info),
    )


def _topology_node(instance: Instance, info: NodeInfo) -> TopologyNode:
    fields = info.fields or {}
    measured = info.fields is not None
    return TopologyNode(
        node_id=info.node.id,
        node_name=_name(info),
        ip=info.node.host,
        port=str(info.node.port),
        node_type=CLOUD_ROLES[info.role],
        max_memory=str(info.node.maxmemory // MEGABYTE),
        used_memory=str(int(info.number("used_memory")) // MEGABYTE) if measured else None,
        qps=str(int(info.number("instantaneous_ops_per_sec"))) if measured else None,
        bandwidth=Bandwidth(kilobits([info], "input"), kilobits([info], "output")) if measured else None,
        db_num=str(topology_of(instance.spec_code).databases),
        dbs=_keyspace(info) if measured else None,
        relation_ip=fields.get("master_host"),
        relation_port=fields.get("master_port"),
        group_id=group_id(instance.id, info.node.shard),
        status=_state(info),
    )


def kilobits(infos: Sequence[NodeInfo], way: Literal["input", "output"]) -> str:
    """Return the present traffic of the nodes in kbit/s."""
    return f"{sum(info.number(f'instantaneous_{way}_kbps') for info in infos) * _BITS:.2f}"


def _keyspace(info: NodeInfo) -> Keyspace:
    counted = {field: str(info.keys.get(field, 0)) for field in ("keys", "expires", "avg_ttl")}
    return Keyspace(**counted)


def _state(info: NodeInfo) -> Literal["Active", "Inactive"]:
    return "Active" if info.fields else "Inactive"


def _name(info: NodeInfo) -> str:
    return f"{info.node.host}:{info.node.port}"


def group_name(shard: int) -> str:
    return f"group-{shard}"


def _replication_id(instance: Instance, info: NodeInfo) -> str:
    return str(uuid.uuid5(uuid.UUID(instance.id), info.node.id))
