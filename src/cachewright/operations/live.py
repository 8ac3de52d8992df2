"""An instance as it is this moment: who owns which slots, what each node says, what its task is moving."""

import asyncio
import time
from collections.abc import Mapping, Sequence

import msgspec

from cachewright.operations.moves import MOVE
from cachewright.operations.site import Site, best_view
from cachewright.operations.vitals import Vital, ask_all
from cachewright.store import instances, tasks
from cachewright.store.records import Instance, Node, SubStep, Task
from cachewright.tasks.operation import ActionFailed
from cachewright.valkey.topology import View, views

_FRESH_SECONDS = 0.4


class Live(msgspec.Struct, frozen=True, kw_only=True):
    """:ivar nodes: in the order of their shards; None for one that does not answer.
    :ivar view: the cluster in the eyes of its nodes; None where no node answers.
    :ivar task: the one that runs, or else is next.
    """

    instance: Instance
    nodes: Sequence[tuple[Node, Vital | None]]
    view: View | None
    task: Task | None

    def moves(self) -> list[SubStep]:
        """Ranges that are on their way."""
        steps = self.task.steps if self.task else ()
        return [sub for step in steps for sub in step.sub_steps if sub.action == MOVE and sub.status == "EXECUTING"]


class Observer:
    """Looks at instances for those who watch them: however many watch one, it is looked at once."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._looks: dict[str, tuple[float, asyncio.Task[Live | None]]] = {}

    async def look(self, project_id: str, instance_id: str) -> Live | None:
        """A fraction of a second old at the most. None where the project has no such instance."""
        now = time.monotonic()
        for known, (begun, looking) in list(self._looks.items()):
            if looking.done() and now - begun > _FRESH_SECONDS:
                del self._looks[known]
        if instance_id not in self._looks:
            self._looks[instance_id] = (now, asyncio.create_task(self._look(instance_id)))
        seen = await asyncio.shield(self._looks[instance_id][1])
        return seen if seen and seen.instance.project_id == project_id else None

    async def _look(self, instance_id: str) -> Live | None:
        known = await asyncio.to_thread(self._read, instance_id)
        if known is None:
            return None
        instance, nodes, task = known
        access = self._site.access(instance)
        vitals, seen = await asyncio.gather(ask_all(nodes, access), views(nodes, access))
        return Live(instance=instance, nodes=vitals, view=_best(seen), task=task)

    def _read(self, instance_id: str) -> tuple[Instance, list[Node], Task | None] | None:
        with self._site.database.read() as connection:
            instance = instances.find(connection, instance_id)
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
