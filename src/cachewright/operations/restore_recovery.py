"""What brings nodes back after a restore that has failed, each with the data that it should have.

The recovery does not end while a node may have other data than it should: it waits for the host of that node. So no
other task finds such a node, and the only copy of its former data stays.
"""

import asyncio
from collections.abc import Iterator

from cachewright import errors
from cachewright.hosts.calls import HostSilent
from cachewright.hosts.host import CONFIG, NodeStartFailed
from cachewright.model.instances import Node
from cachewright.model.tasks import SubStep, Task
from cachewright.operations.actions.node_status import halt_node, settle
from cachewright.operations.actions.restore import load_data
from cachewright.operations.actions.takeover import clear_data, clear_replica, take_over
from cachewright.operations.context import OperationContext
from cachewright.operations.restore_files import RestoreFiles
from cachewright.operations.restore_folders import delete_former, delete_new, former_folder
from cachewright.store import hosts, instances
from cachewright.tasks.operation import CANCELLED, ActionFailed
from cachewright.tasks.waiting import Postponed
from cachewright.valkey.config import DATA_FOLDER

_END_SECONDS = 10.0
"""Time for the end of a node before it is killed. What it has is not needed any more."""


def nodes_of(task: Task, action: str, *, begun: bool = True) -> set[str]:
    """Return the ids of the nodes of all sub-steps with this action, or of those that have begun."""
    found = (sub_step for sub_step in sub_steps(task) if sub_step.action == action)
    return {sub_step.arguments["node_id"] for sub_step in found if not begun or sub_step.begin_time is not None}


def sub_steps(task: Task) -> Iterator[SubStep]:
    return (sub_step for step in task.steps for sub_step in step.sub_steps)


def is_taken_over(task: Task) -> bool:
    """Whether clients may have written to the new data: `take_over` has begun, and was not cancelled before it did
    anything."""
    return any(
        sub_step.action == take_over.name and sub_step.begin_time is not None and sub_step.error_code != CANCELLED
        for sub_step in sub_steps(task)
    )


async def bring_back(context: OperationContext, task: Task) -> None:
    """Let each node that the task has stopped run with its former data, or with the new data if clients may have
    written to it; then replicas without that data start empty. Raises Postponed while a node may have other data."""
    taken_over, halted = is_taken_over(task), nodes_of(task, halt_node.name)
    revival = Revival(context, task, taken_over=taken_over)
    for node in await context.nodes(task.instance_id):
        if node.id in halted and not node.should_run:
            await revival.give_data(node)
    files = RestoreFiles(context, task.id)
    nodes = await context.nodes(task.instance_id)
    left = [node.id for node in nodes if not await delete_new(context, task.id, node)]
    await files.delete(new=left)
    for node in nodes:
        if node.id in halted and node.should_run:
            await revival.start(node)
    revival.require_complete()
    if revival.given_up and not taken_over:
        return  # the nodes that are left cannot settle before those of the lost host are made again
    if answering := halted - revival.silent - revival.given_up:
        await settle(context, task, sorted(answering), lambda done, of: None)
    if taken_over:
        former = [node.id for node in nodes if node.id in halted and not await delete_former(context, task.id, node)]
        await files.delete(new=left, former=former)


class Revival:
    """The nodes of a recovery.

    :ivar silent: nodes whose hosts do not answer, and which may run with the data that they have.
    :ivar given_up: nodes of lost hosts, which other hosts replace.
    """

    def __init__(self, context: OperationContext, task: Task, *, taken_over: bool) -> None:
        """:param taken_over: clients may have written to the new data. A replica must not run with its former data
        then: it could take over and lose those writes."""
        self._context = context
        self._task = task
        self._taken_over = taken_over
        self._cleared = nodes_of(task, clear_replica.name, begun=False) if taken_over else set[str]()
        self._unsure = nodes_of(task, load_data.name) | self._cleared
        self._failures: list[str] = []
        self._awaited: dict[str, Node] = {}
        self._only_copies: set[str] = set()
        self._retried: str | None = None
        self.silent: set[str] = set()
        self.given_up: set[str] = set()

    async def give_data(self, node: Node) -> None:
        """Ensure that a stopped node has the right data, and record that it should run. One whose host does not answer
        is supervised again, and runs when its host is back at the latest, unless it may have other data."""
        try:
            await self._give_data(node)
        except HostSilent:
            if node.id not in self._unsure:
                await self._leave_to_supervisor(node)
                return
            is_lost, has_copy = await self._loss(node)
            if is_lost and has_copy:
                self.given_up.add(node.id)
                return
            self._awaited[node.host_name] = node
            if not has_copy:
                self._only_copies.add(node.host_name)
        except (TimeoutError, OSError, ActionFailed) as failure:
            self._retried = f"the data of node {node.id}: {failure}"

    async def start(self, node: Node) -> None:
        """Start a node that has the right data."""
        try:
            await self._context.host.start(node.id)
        except HostSilent:
            await self._leave_to_supervisor(node)
        except NodeStartFailed as failure:
            self._failures.append(f"node {node.id} does not start: {failure}")
        except (TimeoutError, OSError) as failure:
            self._failures.append(f"node {node.id}: {failure}")

    def require_complete(self) -> None:
        """Raises Postponed if a node may have other data than it should, else ActionFailed if one has not started."""
        if self._awaited:
            awaited = " and ".join(map(self._advice, sorted(self._awaited)))
            raise Postponed(f"waiting for host {awaited}", self._is_any_back)
        if self._retried:
            raise Postponed(f"waiting for {_plain(self._retried)}", _at_once)
        if self._failures:
            raise ActionFailed(errors.NODE_START_FAILED, "; ".join(self._failures))

    async def _give_data(self, node: Node) -> None:
        context = self._context
        if not self._taken_over:
            former = former_folder(self._task.id)
            await context.host.bring_back_folder(node.id, DATA_FOLDER, former=former, grace_seconds=_END_SECONDS)
        elif node.id in self._cleared:
            await clear_data(context, self._task, node.id, _END_SECONDS)
        await context.host.write_files(node.id, await context.files(await context.instance(self._task), node))
        await context.change_node(node.id, should_run=True)

    async def _leave_to_supervisor(self, node: Node) -> None:
        self.silent.add(node.id)
        await self._context.change_node(node.id, should_run=True)

    def _advice(self, host: str) -> str:
        """Return the name of an awaited host, with what its owner can do."""
        if host in self._only_copies:
            return f"{host} (start its agent: it has the only copy of a shard)"
        return f"{host} (start its agent or give it up if it is lost: hosts remove {host} --lost)"

    async def _loss(self, node: Node) -> tuple[bool, bool]:
        """Whether the host of a node was given up as lost, and whether another host, which was not, has a copy of its
        shard."""

        def read() -> tuple[bool, bool]:
            with self._context.database.read() as connection:
                lost = {host.name for host in hosts.every(connection) if host.state == "lost"}
                of_shard = [one for one in instances.nodes_of(connection, node.instance_id) if one.shard == node.shard]
            return node.host_name in lost, any(one.host_name not in {*lost, node.host_name} for one in of_shard)

        return await asyncio.to_thread(read)

    async def _is_any_back(self) -> bool:
        """Whether one of the awaited hosts answers, or was given up."""
        for node in self._awaited.values():
            try:
                await self._context.host.has_file(node.id, CONFIG)
            except HostSilent:
                if not all(await self._loss(node)):  # it is awaited, or has the only copy
                    continue
            return True
        return False


def _plain(text: str) -> str:
    """Return a text without the characters that a status must not contain."""
    return text.translate(str.maketrans(",{}\n", ";() "))


async def _at_once() -> bool:
    return True
