"""An instance as it is this moment: who owns which slots, what each node says, what its task is moving."""

import asyncio
import time
from collections.abc import Mapping, Sequence

import msgspec

from cachewright.concurrency import SharedCalls
from cachewright.model.instances import Instance, Node
from cachewright.model.tasks import SubStep, Task
from cachewright.monitoring.inspection import NodeBudget
from cachewright.monitoring.node_stats import NodeStats, ask_all
from cachewright.operations.context import OperationContext, best_view
from cachewright.operations.resize_estimate import MOVE
from cachewright.store import instances, tasks
from cachewright.tasks.operation import ActionFailed
from cachewright.topologies import topology_of
from cachewright.topologies.topology import view_all
from cachewright.valkey.topology import View

_FRESH_SECONDS = 0.4
_ANSWER_SECONDS = 2.0

_Wanted = tuple[str, str]
"""A project's id and an instance's."""


class InstanceSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """:ivar nodes: in the order of their shards; None for one that does not answer.
    :ivar view: the cluster in the eyes of its nodes; None where no node answers.
    :ivar task: the one that runs, or else is next.
    """

    instance: Instance
    nodes: Sequence[tuple[Node, NodeStats | None]]
    view: View | None
    task: Task | None

    def moves(self) -> list[SubStep]:
        """Ranges that are on their way."""
        steps = self.task.steps if self.task else ()
        return [sub for step in steps for sub in step.sub_steps if sub.action == MOVE and sub.status == "EXECUTING"]


class SnapshotReader:
    """Looks at instances for those who watch them: however many watch one, it is looked at once."""

    def __init__(self, site: OperationContext, budget: NodeBudget | None = None) -> None:
        self._site = site
        self._budget = budget or NodeBudget()
        self._looks: SharedCalls[_Wanted, InstanceSnapshot | None] = SharedCalls()
        self._latest: dict[_Wanted, tuple[float, InstanceSnapshot | None]] = {}

    async def first_look(self, project_id: str, instance_id: str) -> InstanceSnapshot | None:
        """As `look`, for a request. ApiError DCS.4974 where too many of the project's requests wait."""
        async with self._budget.request(project_id):
            return await self.look(project_id, instance_id)

    async def look(self, project_id: str, instance_id: str) -> InstanceSnapshot | None:
        """A fraction of a second old at the most. None where the project has no such instance."""
        wanted, now = (project_id, instance_id), time.monotonic()
        self._latest = {known: (at, seen) for known, (at, seen) in self._latest.items() if now - at < _FRESH_SECONDS}
        if wanted in self._latest:
            return self._latest[wanted][1]
        return await self._looks.get(wanted, lambda: self._look(*wanted))

    async def _look(self, project_id: str, instance_id: str) -> InstanceSnapshot | None:
        begun = time.monotonic()
        async with self._budget.look(project_id):
            known = await asyncio.to_thread(self._read, project_id, instance_id)
            seen = await self._asked(*known) if known else None
        self._latest[project_id, instance_id] = begun, seen
        return seen

    async def _asked(self, instance: Instance, nodes: list[Node], task: Task | None) -> InstanceSnapshot:
        access = self._site.access(instance)
        topology = topology_of(instance.spec_code)
        stats, views = await asyncio.gather(ask_all(nodes, access), view_all(topology, nodes, access, _ANSWER_SECONDS))
        return InstanceSnapshot(instance=instance, nodes=stats, view=_best(views), task=task)

    def _read(self, project_id: str, instance_id: str) -> tuple[Instance, list[Node], Task | None] | None:
        with self._site.database.read() as connection:
            instance = instances.get(connection, project_id, instance_id)
            if instance is None:
                return None
            unfinished = tasks.unfinished_of(connection, instance_id)
            first = next((task for task in unfinished if task.status == "EXECUTING"), next(iter(unfinished), None))
            task = tasks.get(connection, instance_id, first.id) if first else None
            return instance, instances.nodes_of(connection, instance_id), task


def _best(seen: Mapping[str, View | None]) -> View | None:
    try:
        return best_view(seen)
    except ActionFailed:
        return None
