"""Scaling a cluster out or in, and changing the size of its shards, while it serves.

The plan is made from the cluster as it is, not from what the instance's spec says it should be: a scale that failed
half-way leaves more shards than it should, and asking again goes on from there.
"""

import asyncio
import math
from collections.abc import Mapping, Sequence

import msgspec
import sqlalchemy as sa

from cachewright.errors import ApiError
from cachewright.flavors import Flavor, parse
from cachewright.hosts.ports import NodePorts
from cachewright.hosts.resources import resources
from cachewright.model.instances import Instance, Node
from cachewright.model.tasks import Control, Step, Task
from cachewright.operations import admission
from cachewright.operations.actions import cluster
from cachewright.operations.actions.nodes import IDLE_SECONDS, end
from cachewright.operations.context import best_view
from cachewright.operations.kinds import POST_CHECK, PRE_CHECK, RESIZE, RESOURCE_CHECK, STATUS_CHECK
from cachewright.operations.operation import InstanceOperation, answering
from cachewright.operations.resize_estimate import (
    BYTES_PER_SECOND,
    MOVE,
    PACE,
    Load,
    Speed,
    drafts,
    learned,
    moved_keys,
)
from cachewright.placement import capacity, layout
from cachewright.placement.capacity import Shortage
from cachewright.placement.port_reservation import reserve
from cachewright.store import instances, task_controls, throughput
from cachewright.tasks.operation import ActionFailed
from cachewright.tasks.plan import SubStepSpec, build, effort
from cachewright.tasks.progress import planned_seconds
from cachewright.valkey import slots
from cachewright.valkey.access import Access
from cachewright.valkey.client import NODE_GONE, NodeRefused, ask, connect
from cachewright.valkey.client_activity import client_activity
from cachewright.valkey.migration import jobs
from cachewright.valkey.migration.source_state import side_by_side
from cachewright.valkey.topology import View

_FULLEST = 0.7
"""Share of its memory that a shard may use after a scale-in (the cloud's own rule)."""

_BYTES_PER_KEY = 100.0  # of a cluster without keys
_CHECK_SECONDS = 0.05
_START_SECONDS = 0.15
_JOIN_SECONDS, _JOIN_SECONDS_A_NODE = 0.15, 0.03
_RELEASE_SECONDS = 0.2
_CANCEL_SECONDS = 10.0


class Shape(msgspec.Struct, frozen=True):
    """The cluster before and after: current masters by shard, the shards that leave, the nodes that are new."""

    masters: Mapping[int, Node]
    leaving: Sequence[int]
    new: Sequence[Node]

    @property
    def staying(self) -> list[str]:
        kept = [node.id for shard, node in self.masters.items() if shard not in self.leaving]
        return kept + [node.id for node in self.new if node.role == "primary"]


class Preview(msgspec.Struct, frozen=True):
    """`blockers` are error codes and reasons."""

    steps: tuple[Step, ...]
    seconds: float
    blockers: tuple[tuple[str, str], ...]


class Resize(InstanceOperation):
    kind = RESIZE

    async def plan(self, task: Task) -> tuple[Step, ...]:
        with answering():
            return await self._plan(task, store=True)

    async def preview(self, task: Task) -> Preview:
        """What a plan made now would do, and what it would fail on. Nothing is touched."""
        with answering():
            steps = await self._plan(task, store=False)
            instance, nodes, seen = await self.site.look(task)
        needed = steps[0].sub_steps[0].arguments
        shortages = await asyncio.to_thread(self._shortages, instance, parse(task.params["spec_code"]))
        failures = [
            *cluster.resource_failures(needed, resources(self.site.settings.data_dir)),
            *cluster.status_failures(nodes, seen),
        ]
        blockers = [(shortage.code, shortage.reason) for shortage in shortages]
        blockers += [(failure.code, failure.message) for failure in failures]
        return Preview(steps, planned_seconds(steps), tuple(blockers))

    def _shortages(self, instance: Instance, flavor: Flavor) -> list[Shortage]:
        """What `resize_instance` would be refused for; the disk is looked at with the bytes of the plan."""
        limits = admission.limits(self.site.settings)
        with self.site.database.read() as connection:
            request = admission.resizing(instances.nodes_of(connection, instance.id), flavor)
            return admission.shortages(connection, limits, instance.project_id, request, instance)

    async def _plan(self, task: Task, *, store: bool) -> tuple[Step, ...]:
        flavor = parse(task.params["spec_code"])
        instance, nodes, seen = await self.site.look(task)
        view = best_view(seen)
        shape = await self._shape(task, flavor, [node for node in nodes if node.should_run], view, store=store)
        owned = {node_id: parts for node_id, parts in view.owned().items() if parts}
        moves = slots.plan_moves(owned, shape.staying)
        loads = await _loads(shape, moves, self.site.access(instance))
        speed = await asyncio.to_thread(self._speed, task)
        every = [*(node for node in nodes if node.should_run), *shape.new]
        leaving = [node for node in nodes if node.shard in shape.leaving]
        resized = [node for node in every if node.maxmemory != flavor.shard_mb * layout.MEGABYTE]
        resized = [node for node in resized if node not in leaving and node not in shape.new]
        growing = bool(resized) and resized[0].maxmemory < flavor.shard_mb * layout.MEGABYTE
        memory = [_set_memory(node) for node in resized]
        return build(
            task.run_id,
            {
                PRE_CHECK: _checks(shape, moves, loads, flavor),
                "Resource request.": [_start(node) for node in shape.new],
                "Cluster join.": _join(shape.new, len(nodes)),
                "Memory increase.": memory if growing else [],
                "Data migration.": drafts(moves, loads, speed),
                "Memory decrease.": [] if growing else memory,
                "Resource release.": [_release(node, leaving, loads.get(node.id)) for node in leaving],
                POST_CHECK: [_check_status([])],
            },
        )

    async def recover(self, task: Task) -> None:
        """No migration goes on, and new nodes that got no slots are taken away again; those that got some stay."""
        instance, nodes, seen = await self.site.look(task)
        access = self.site.access(instance)
        async with asyncio.timeout(_CANCEL_SECONDS):
            await asyncio.gather(*(_cancelled(node, access) for node in nodes))
        for node in nodes:
            self.site.sources.forget(node.id)
        view = best_view(seen)
        drafts = [sub for step in task.steps for sub in step.sub_steps if sub.action == "start node"]
        new_ids = {sub.arguments["node_id"] for sub in drafts}
        useful = {node.shard for node in nodes if view.members.get(node.id) and view.members[node.id].slots}
        useless = [node for node in nodes if node.id in new_ids and node.shard not in useful]
        for node in useless:
            for other in nodes:
                if other not in useless:
                    await _forget(other, node.id, access)
            await end(self.site, node)

    def succeeded(self, connection: sa.Connection, task: Task) -> None:
        instances.change(connection, task.instance_id, spec_code=task.params["spec_code"])
        if task_controls.get(connection, task.id) != Control():
            return  # as fast as its owner wanted it, which tells nothing of others
        moving = [step for step in task.steps if any(sub.action == MOVE for sub in step.sub_steps)]
        if moving and (pace := learned(moving[-1], side_by_side())):
            throughput.learn(connection, PACE, pace)

    async def _shape(self, task: Task, flavor: Flavor, nodes: list[Node], view: View, *, store: bool) -> Shape:
        """New nodes are stored here, before any of them starts; unless the plan is only looked at."""
        masters = layout.primaries(nodes, view)
        shards = sorted(masters)
        leaving = shards[flavor.shards :]
        first = max(shards, default=-1) + 1
        added = range(first, first + max(flavor.shards - len(shards), 0))

        new = layout.new_nodes(self.site.settings, task.instance_id, flavor, shards=added, salt=task.run_id)
        if store:
            new = await asyncio.to_thread(self._stored, task, new)
        return Shape(masters, leaving, new)

    def _stored(self, task: Task, new: Sequence[Node]) -> list[Node]:
        """The new nodes with their ports; those that are not in the database yet are added to it."""
        with self.site.database.read() as connection:
            known = {node.id: node for node in instances.nodes_of(connection, task.instance_id)}
        missing = [node for node in new if node.id not in known]
        tls = any(node.tls_port for node in known.values())

        def add(connection: sa.Connection, ports: Sequence[NodePorts]) -> list[Node]:
            added = layout.placed(missing, ports)
            instances.add_nodes(connection, added)
            return added

        try:
            added = reserve(self.site.database, self.site.settings, len(missing), add, tls=tls) if missing else []
        except ApiError as refused:
            raise ActionFailed(refused.code, refused.message, True) from refused
        every = known | {node.id: node for node in added}
        return [every[node.id] for node in new]

    def _speed(self, task: Task) -> Speed:
        with self.site.database.read() as connection:
            pace = throughput.get(connection, PACE) or BYTES_PER_SECOND
            return Speed(pace=pace, turns=side_by_side(), priority=task_controls.get(connection, task.id).priority)


async def _loads(shape: Shape, moves: Sequence[slots.Move], access: Access) -> dict[str, Load]:
    """Of every master there is; keys are counted only in slots that move."""
    wanted: dict[str, list[int]] = {node.id: [] for node in shape.masters.values()}
    for move in moves:
        wanted[move.source] += slots.slots_of([move.range])

    async def one(node: Node) -> Load:
        async with connect(node, access) as client:
            keys = await jobs.count_keys(client, wanted[node.id])
            memory = await client.info("memory")
            total = await client.dbsize()
            clients = (await client_activity(client)).connected > 0
        per_key = memory["used_memory_dataset"] / total if total else _BYTES_PER_KEY
        return Load(memory["used_memory"], per_key, keys, clients)

    masters = list(shape.masters.values())
    return dict(zip([node.id for node in masters], await asyncio.gather(*map(one, masters)), strict=True))


def _checks(shape: Shape, moves: Sequence[slots.Move], loads: Mapping[str, Load], flavor: Flavor) -> list[SubStepSpec]:
    size = {move: math.ceil(moved_keys(move, loads[move.source]) * loads[move.source].bytes_per_key) for move in moves}
    moved = sum(size.values())
    limit = int(flavor.shard_mb * layout.MEGABYTE * _FULLEST)
    coming = {node_id: sum(size[move] for move in moves if move.target == node_id) for node_id in shape.staying}
    going = {node_id: sum(size[move] for move in moves if move.source == node_id) for node_id in shape.staying}
    held = {node_id: load.used_memory for node_id, load in loads.items()}
    rooms = [
        [node_id, held.get(node_id, 0) + coming[node_id] - going[node_id], limit]
        for node_id in shape.staying
        if coming[node_id] or not moves
    ]
    needed = {
        "host_bytes": capacity.EMPTY_NODE * len(shape.new) + moved * flavor.copies,
        "disk_bytes": capacity.disk_bytes(moved, flavor.copies, len(shape.new)),
        "rooms": rooms,
    }
    check = effort("check", seconds=_CHECK_SECONDS)
    return [
        SubStepSpec(name=RESOURCE_CHECK, action="check resources", work=check, arguments=needed),
        _check_status(shape.new),
    ]


def _check_status(new: Sequence[Node]) -> SubStepSpec:
    """Of all nodes but the new ones, which have not started yet."""
    return SubStepSpec(
        name=STATUS_CHECK,
        action="check status",
        work=effort("check", seconds=_CHECK_SECONDS),
        arguments={"new": [node.id for node in new]},
    )


def _start(node: Node) -> SubStepSpec:
    return SubStepSpec(
        name=f"Node start. Shard {node.shard}, {node.role}",
        action="start node",
        work=effort(node.id, seconds=_START_SECONDS),
        arguments={"node_id": node.id, "founding": False},
    )


def _join(new: Sequence[Node], old: int) -> list[SubStepSpec]:
    if not new:
        return []
    every = old + len(new)
    size = effort("join", unit="nodes", total=every, seconds=_JOIN_SECONDS + _JOIN_SECONDS_A_NODE * every)
    ids = [node.id for node in new]
    return [SubStepSpec(name="Cluster join.", action="join cluster", work=size, arguments={"node_ids": ids})]


def _set_memory(node: Node) -> SubStepSpec:
    return SubStepSpec(
        name=f"Memory change. Shard {node.shard}, {node.role}",
        action="set memory",
        work=effort(node.id, seconds=_CHECK_SECONDS),
        arguments={"node_id": node.id},
    )


def _release(node: Node, leaving: Sequence[Node], load: Load | None) -> SubStepSpec:
    """Where it has clients, each is first let learn where its slots went."""
    drained = IDLE_SECONDS if load and load.clients else 0.0
    return SubStepSpec(
        name=f"Node release. Shard {node.shard}, {node.role}",
        action="release node",
        work=effort(node.id, seconds=_RELEASE_SECONDS + drained),
        arguments={"node_id": node.id, "leaving": [other.id for other in leaving]},
    )


async def _cancelled(node: Node, access: Access) -> None:
    """Returns when the node exports nothing any more. A node that is dead exports nothing."""
    try:
        async with connect(node, access) as client:
            await jobs.cancel_all(client)
    except (*NODE_GONE, NodeRefused):
        return


async def _forget(node: Node, gone: str, access: Access) -> None:
    try:
        async with connect(node, access) as client:
            await ask(client, "CLUSTER FORGET", gone)
    except (*NODE_GONE, NodeRefused):
        return
