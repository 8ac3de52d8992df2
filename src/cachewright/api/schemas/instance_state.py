"""Extensions of this project: an instance as it is now, and what it measured over the last hour."""

from collections.abc import Sequence
from typing import Literal

import msgspec

from cachewright.api.schemas import iso
from cachewright.api.schemas.nodes import group_id, group_name
from cachewright.api.schemas.tasks import progress
from cachewright.flavors import parse
from cachewright.model.instances import Node, Role
from cachewright.monitoring.node_stats import InstanceSample, NodeStats
from cachewright.monitoring.snapshots import InstanceSnapshot


class NodeState(msgspec.Struct, frozen=True, kw_only=True):
    """Memory in bytes; numbers are null where the node does not answer."""

    node_id: str
    address: str
    role: Role
    status: Literal["Active", "Inactive"]
    keys: int | None
    used_memory: int | None
    max_memory: int
    ops_per_second: int | None


class ShardState(msgspec.Struct, frozen=True, kw_only=True):
    """`slots` are ranges, first and last both included; an instance that is no cluster has none."""

    group_id: str
    group_name: str
    slots: list[tuple[int, int]]
    slot_count: int
    nodes: list[NodeState]


class MovingRange(msgspec.Struct, frozen=True, kw_only=True):
    """`bytes` of about `bytes_total` have arrived."""

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


class InstanceState(msgspec.Struct, frozen=True, kw_only=True):
    """`cluster_state` is null where no node answers; `task` is the one that runs, or else is next."""

    instance_id: str
    name: str
    status: str
    error_code: str | None
    spec_code: str
    cluster_state: Literal["ok", "fail"] | None
    task: TaskState | None
    shards: list[ShardState]
    moving: list[MovingRange]


class StatisticsSample(msgspec.Struct, frozen=True, kw_only=True):
    """Memory in bytes, traffic in kilobytes a second."""

    at: str | None
    used_memory: int
    keys: int
    ops_per_second: int
    clients: int
    input_kbps: float
    output_kbps: float


class StatisticsSamples(msgspec.Struct, frozen=True):
    """Oldest first, every few seconds. There is none of a time when a shard had no master."""

    instance_id: str
    samples: list[StatisticsSample]


def instance_state(seen: InstanceSnapshot) -> InstanceState:
    shard_of = {node.id: node.shard for node, _ in seen.nodes}
    return InstanceState(
        instance_id=seen.instance.id,
        name=seen.instance.name,
        status=seen.instance.status,
        error_code=seen.instance.error_code,
        spec_code=seen.instance.spec_code,
        cluster_state=None if seen.view is None else "ok" if seen.view.ok else "fail",
        task=_task(seen),
        shards=[_shard(seen, shard) for shard in sorted(set(shard_of.values()))],
        moving=[
            MovingRange(
                first=move.arguments["first"],
                last=move.arguments["last"],
                source=group_name(shard_of[move.arguments["source"]]),
                target=group_name(shard_of[move.arguments["target"]]),
                bytes=int(move.done) if move.arguments["keys"] else 0,
                bytes_total=int(move.work.total) if move.arguments["keys"] else 0,
            )
            for move in seen.moves()
            if {move.arguments["source"], move.arguments["target"]} <= shard_of.keys()
        ],
    )


def statistics_samples(instance_id: str, history: Sequence[InstanceSample]) -> StatisticsSamples:
    shown = [
        StatisticsSample(
            **{**msgspec.structs.asdict(sample), "at": iso(sample.at)}
        )  # the same fields, but for the time
        for sample in history
    ]
    return StatisticsSamples(instance_id, shown)


def _task(seen: InstanceSnapshot) -> TaskState | None:
    if seen.task is None:
        return None
    now = progress(seen.task)
    return TaskState(
        task_id=seen.task.id,
        name=seen.task.name,
        status=seen.task.status,
        progress=now.progress,
        remain_time=now.remain_time,
    )


def _shard(seen: InstanceSnapshot, shard: int) -> ShardState:
    members = [(node, vital) for node, vital in seen.nodes if node.shard == shard]
    owned = seen.view.owned() if seen.view and parse(seen.instance.spec_code).cache_mode == "cluster" else {}
    slots = sorted(part for node, _ in members for part in owned.get(node.id, ()))
    return ShardState(
        group_id=group_id(seen.instance, shard),
        group_name=group_name(shard),
        slots=[(part.first, part.last) for part in slots],
        slot_count=sum(len(part) for part in slots),
        nodes=[_node(node, vital) for node, vital in members],
    )


def _node(node: Node, vital: NodeStats | None) -> NodeState:
    return NodeState(
        node_id=node.id,
        address=f"{node.host}:{node.port}",
        role=vital.role if vital else node.role,
        status="Active" if vital else "Inactive",
        keys=vital.keys if vital else None,
        used_memory=vital.used_memory if vital else None,
        max_memory=node.maxmemory,
        ops_per_second=vital.ops_per_second if vital else None,
    )
