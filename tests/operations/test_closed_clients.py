"""The plan of a task that closes connections of clients: a node that is down does not protect those of the others."""

from typing import Any

import msgspec

from cachewright.model.instances import Node
from cachewright.model.tasks import Task
from cachewright.operations.close_clients import CLOSE_CLIENTS
from standalone_node import OPEN, nowhere

TASK = Task(
    id="t", instance_id="i", project_id="p", kind="close_clients", name="KillClients", status="WAITING",
    params={"node_id": None}, details={}, user_id="u", user_name="n", created_at=1,
)  # fmt: skip


class Context:
    """Two nodes that do not answer."""

    def __init__(self) -> None:
        self.nodes: list[Node] = [msgspec.structs.replace(nowhere(), id=letter * 40) for letter in "ab"]

    async def instance_and_nodes(self, task: Task) -> tuple[Any, list[Node]]:
        return None, self.nodes

    def access(self, instance: Any) -> Any:
        return OPEN


async def test_nodes_that_do_not_answer_are_planned_too() -> None:
    context: Any = Context()
    (step,) = await CLOSE_CLIENTS.plan(context, TASK)
    assert [(sub.work.lane, sub.work.total) for sub in step.sub_steps] == [("a" * 40, 1), ("b" * 40, 1)]
