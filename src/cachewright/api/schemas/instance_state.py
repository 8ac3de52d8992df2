"""Extensions of this project: the present state of an instance, and its statistics of the last hour."""

from collections.abc import Sequence
from typing import Literal

import msgspec

from cachewright.api.schemas import iso
from cachewright.api.schemas.nodes import group_name
from cachewright.api.schemas.tasks import progress
from cachewright.flavors import parse
from cachewright.model.incidents import FaultKind
from cachewright.model.instances import Node, Role, group_id
from cachewright.monitoring.node_stats import InstanceSample, NodeStats
from cachewright.monitoring.snapshots import InstanceSnapshot


class NodeState(msgspec.Struct, frozen=True, kw_only=True):
    """State of a node. Memory in bytes; numbers are null if the node does not respond. `should_run` is false for a node
    that was stopped."""

    node_id: str
    address: str
    role: Role
    status: Literal["Active", "Inactive"]
    keys: int | None
    used_memory: int | None
    max_memory: int
    ops_per_second: int | None
    priority: int
    should_run: bool


class ShardState(msgspec.Struct, frozen=True, kw_only=True):
    """State of a shard. `slots` are ranges, including first and last; empty for a single instance."""

    group_id: str
    group_name: str
    slots: list[tuple[int, int]]
    slot_count: int
    nodes: list[NodeState]


class MovingRange(msgspec.Struct, frozen=True, kw_only=True):
    """A range of slots that is being moved. `bytes_total` is an estimate."""

    first: int
    last: int
    source: str
    target: str
    bytes: int
    bytes_total: int


class TaskState(msgspec.Struct, frozen=True, kw_only=True):
    task_id: str
    name: str
    status: str
    progress: int
    remain_time: int


class OpenIncident(msgspec.Struct, frozen=True, kw_only=True):
    """A fault that the instance has now. docs/failure-modes.md describes each kind."""

    kind: FaultKind
    error_code: str
    detail: str
    began_at: str | None


class InstanceState(msgspec.Struct, frozen=True, kw_only=True):
    """`cluster_state` is null if no node responds; `task` is the running task, or else the next one."""

    instance_id: str
    name: str
    status: str
    error_code: str | None
    spec_code: str
    cluster_state: Literal["ok", "fail"] | None
    task: TaskState | None
    shards: list[ShardState]
    moving: list[MovingRange]
    incidents: list[OpenIncident]


class StatisticsSample(msgspec.Struct, frozen=True, kw_only=True):
    """Memory in bytes, traffic in kilobytes per second."""

    at: str | None
    used_memory: int
    keys: int
    ops_per_second: int
    clients: int
    input_kbps: float
    output_kbps: float


class StatisticsSamples(msgspec.Struct, frozen=True):
    """Samples every few seconds, oldest first. Samples are missing for times at which a shard had no primary."""

    instance_id: str
    samples: list[StatisticsSample]


def instance_state(snapshot: InstanceSnapshot) -> InstanceState:
    shard_of = {node.id: node.shard for node, _ in snapshot.nodes}
    return InstanceState(
        instance_id=snapshot.instance.id,
        name=snapshot.instance.name,
        status=snapshot.instance.status,
        error_code=snapshot.instance.error_code,
        spec_code=snapshot.instance.spec_code,
        cluster_state=None if snapshot.view is None else "ok" if snapshot.view.ok else "fail",
        task=_task(snapshot),
        shards=[_shard(snapshot, shard) for shard in sorted(set(shard_of.values()))],
        moving=[
            MovingRange(
                first=move.arguments["first"],
                last=move.arguments["last"],
                source=group_name(shard_of[move.arguments["source"]]),
                target=group_name(shard_of[move.arguments["target"]]),
                bytes=int(move.done) if move.arguments["keys"] else 0,
                bytes_total=int(move.work.total) if move.arguments["keys"] else 0,
            )
            for move in snapshot.moves()
            if {move.arguments["source"], move.arguments["target"]} <= shard_of.keys()
        ],
        incidents=[
            OpenIncident(
                kind=incident.kind,
                error_code=incident.error_code,
                detail=incident.detail,
                began_at=iso(incident.began_at),
            )
            for incident in snapshot.incidents
        ],
    )


def statistics_samples(instance_id: str, history: Sequence[InstanceSample]) -> StatisticsSamples:
    samples = [StatisticsSample(**{**msgspec.structs.asdict(sample), "at": iso(sample.at)}) for sample in history]
    return StatisticsSamples(instance_id, samples)


def _task(snapshot: InstanceSnapshot) -> TaskState | None:
    if snapshot.task is None:
        return None
    current = progress(snapshot.task)
    return TaskState(
        task_id=snapshot.task.id,
        name=snapshot.task.name,
        status=snapshot.task.status,
        progress=current.progress,
        remain_time=current.remain_time,
    )


def _shard(snapshot: InstanceSnapshot, shard: int) -> ShardState:
    members = [(node, stats) for node, stats in snapshot.nodes if node.shard == shard]
    owned = (
        snapshot.view.owned() if snapshot.view and parse(snapshot.instance.spec_code).cache_mode == "cluster" else {}
    )
    has_primary = any(stats.role == "primary" for _, stats in members if stats)
    slots = sorted(part for node, _ in members for part in owned.get(node.id, ()))
    return ShardState(
        group_id=group_id(snapshot.instance.id, shard),
        group_name=group_name(shard),
        slots=[(part.first, part.last) for part in slots],
        slot_count=sum(len(part) for part in slots),
        nodes=[_node(node, stats, "replica" if has_primary else node.role) for node, stats in members],
    )


def _node(node: Node, stats: NodeStats | None, role_if_silent: Role) -> NodeState:
    return NodeState(
        node_id=node.id,
        address=f"{node.host}:{node.port}",
        role=stats.role if stats else role_if_silent,
        status="Active" if stats else "Inactive",
        keys=stats.keys if stats else None,
        used_memory=stats.used_memory if stats else None,
        max_memory=node.maxmemory,
        ops_per_second=stats.ops_per_second if stats else None,
        priority=node.priority,
        should_run=node.should_run,
    )
