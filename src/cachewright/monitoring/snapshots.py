"""Snapshots of the present state of instances: owners of slots, statistics of nodes, the running task."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from cachewright.concurrency import SharedCalls
from cachewright.model.incidents import Incident
from cachewright.model.instances import Instance, Node
from cachewright.model.tasks import SubStep, Task
from cachewright.monitoring.inspection import NodeBudget
from cachewright.monitoring.node_stats import NodeStats, query_all
from cachewright.operations.context import OperationContext, best_view
from cachewright.operations.resize.cost_model import MOVE
from cachewright.store import incidents, instances, tasks
from cachewright.tasks.operation import ActionFailed
from cachewright.topologies import topology_of
from cachewright.topologies.topology import view_all
from cachewright.valkey.topology import View

_FRESH_SECONDS = 0.4
_ANSWER_SECONDS = 2.0

_Key = tuple[str, str]
"""Id of a project, and of an instance."""


class InstanceSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """State of an instance at one moment.

    :ivar nodes: nodes in the order of their shards, with statistics; None for a node that does not respond.
    :ivar view: the cluster as its nodes see it; None if no node responds.
    :ivar task: the running task, or else the next one.
    :ivar incidents: open incidents, oldest first.
    """

    instance: Instance
    nodes: Sequence[tuple[Node, NodeStats | None]]
    view: View | None
    task: Task | None
    incidents: Sequence[Incident] = ()

    @property
    def owners_are_nodes(self) -> bool:
        """Whether all slots that have an owner belong to `nodes`."""
        return self.view is None or self.view.owned().keys() <= {node.id for node, _ in self.nodes}

    def moves(self) -> list[SubStep]:
        """Sub-steps that move a range now."""
        steps = self.task.steps if self.task else ()
        return [sub for step in steps for sub in step.sub_steps if sub.action == MOVE and sub.status == "EXECUTING"]


class _Record(NamedTuple):
    """What the database knows of an instance."""

    instance: Instance
    nodes: list[Node]
    task: Task | None
    incidents: list[Incident]


class SnapshotReader:
    """Takes snapshots of instances. Concurrent readers share one snapshot."""

    def __init__(self, context: OperationContext, budget: NodeBudget | None = None) -> None:
        self._context = context
        self._budget = budget or NodeBudget()
        self._calls: SharedCalls[_Key, InstanceSnapshot | None] = SharedCalls()
        self._latest: dict[_Key, tuple[float, InstanceSnapshot | None]] = {}

    async def first_look(self, project_id: str, instance_id: str) -> InstanceSnapshot | None:
        """Take a snapshot for a request. ApiError DCS.4974 if too many requests of the project wait."""
        async with self._budget.request(project_id):
            return await self.look(project_id, instance_id)

    async def look(self, project_id: str, instance_id: str) -> InstanceSnapshot | None:
        """Snapshot at most 0.4 s old; None if the project has no such instance."""
        key, now = (project_id, instance_id), time.monotonic()
        self._latest = {other: entry for other, entry in self._latest.items() if now - entry[0] < _FRESH_SECONDS}
        if key in self._latest:
            return self._latest[key][1]
        return await self._calls.get(key, lambda: self._take(*key))

    async def _take(self, project_id: str, instance_id: str) -> InstanceSnapshot | None:
        start = time.monotonic()
        async with self._budget.instance(project_id):
            snapshot = await self._present(project_id, instance_id)
        self._latest[project_id, instance_id] = start, snapshot
        return snapshot

    async def _present(self, project_id: str, instance_id: str) -> InstanceSnapshot | None:
        record = await asyncio.to_thread(self._read, project_id, instance_id)
        if record is None:
            return None
        snapshot = await self._snapshot(record)
        if snapshot.owners_are_nodes:
            return snapshot
        # Nodes of a task may have joined, and got slots, while slow nodes answered. Strangers are in no record.
        later = await asyncio.to_thread(self._read, project_id, instance_id)
        return await self._snapshot(later) if later and later.nodes != record.nodes else snapshot

    async def _snapshot(self, record: _Record) -> InstanceSnapshot:
        instance, nodes, task, open_incidents = record
        access = self._context.access(instance)
        topology = topology_of(instance.spec_code)
        stats, views = await asyncio.gather(
            query_all(nodes, access), view_all(topology, nodes, access, _ANSWER_SECONDS)
        )
        return InstanceSnapshot(instance=instance, nodes=stats, view=_best(views), task=task, incidents=open_incidents)

    def _read(self, project_id: str, instance_id: str) -> _Record | None:
        with self._context.database.read() as connection:
            instance = instances.get(connection, project_id, instance_id)
            if instance is None:
                return None
            active = tasks.active_of(connection, instance_id)
            first = next((task for task in active if task.status == "EXECUTING"), next(iter(active), None))
            task = tasks.get(connection, instance_id, first.id) if first else None
            return _Record(
                instance, instances.nodes_of(connection, instance_id), task, incidents.open_of(connection, instance_id)
            )


def _best(seen: Mapping[str, View | None]) -> View | None:
    try:
        return best_view(seen)
    except ActionFailed:
        return None
