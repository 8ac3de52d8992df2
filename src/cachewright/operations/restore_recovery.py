"""Nodes of a restore that has failed, and what the restore has left with them."""

import logging
from collections.abc import Awaitable, Iterator

from cachewright.hosts.calls import HostSilent
from cachewright.hosts.host import NodeStartFailed
from cachewright.logs import RARELY
from cachewright.model.instances import Node
from cachewright.model.tasks import SubStep, Task
from cachewright.operations.actions.restore import load_data, new_folder, work_folders
from cachewright.operations.actions.takeover import clear_replica
from cachewright.operations.context import OperationContext
from cachewright.tasks.operation import ActionFailed

log = logging.getLogger(__name__)


def nodes_of(task: Task, action: str, *, begun: bool = True) -> set[str]:
    """Return the ids of the nodes of all sub-steps with this action, or of those that have begun."""
    found = (sub_step for sub_step in sub_steps(task) if sub_step.action == action)
    return {sub_step.arguments["node_id"] for sub_step in found if not begun or sub_step.begin_time is not None}


def sub_steps(task: Task) -> Iterator[SubStep]:
    return (sub_step for step in task.steps for sub_step in step.sub_steps)


class Revival:
    """The nodes of a recovery.

    :ivar failures: for people. :ivar silent: nodes whose hosts do not answer, and which may run with the data that they
        have.
    """

    def __init__(self, context: OperationContext, task: Task, *, taken_over: bool) -> None:
        """:param taken_over: clients may have written to the new data. A replica must not run with its former data
        then: it could take over and lose those writes."""
        self._context = context
        cleared = nodes_of(task, clear_replica.name, begun=False) if taken_over else set[str]()
        self._unsure = nodes_of(task, load_data.name) | cleared
        self.failures: list[str] = []
        self.silent: set[str] = set()

    async def attempt(self, node: Node, act: Awaitable[None]) -> None:
        """Bring a node back. One whose host does not answer is supervised again, and runs when its host is back at the
        latest, unless it may have other data than it should."""
        try:
            await act
        except HostSilent as failure:
            if node.id in self._unsure:
                self.failures.append(f"node {node.id}: {failure}")
            else:
                self.silent.add(node.id)
                await self._context.change_node(node.id, should_run=True)
        except NodeStartFailed as failure:
            self.failures.append(f"node {node.id} does not start: {failure}")
        except (TimeoutError, OSError, ActionFailed) as failure:
            self.failures.append(f"node {node.id}: {failure}")


async def delete_new(context: OperationContext, task_id: str, node: Node) -> bool:
    """Delete what a task has made for a node. False if its host does not answer: the node is as it was."""
    try:
        await context.host.delete_folders(node.id, new_folder(task_id), *work_folders(task_id, node))
    except HostSilent as silent:
        log.warning("files of restore %s cannot be deleted now: %s", task_id, silent, extra=RARELY)
        return False
    return True
