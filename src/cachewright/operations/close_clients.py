"""Close the connections of all clients of a node, or of all nodes. Clients may connect again."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import msgspec

from cachewright import errors
from cachewright.errors import ApiError
from cachewright.model.instances import Instance, Node
from cachewright.model.tasks import Step, Task
from cachewright.operations.actions.action import NodeArguments
from cachewright.operations.actions.clients import close_connections
from cachewright.operations.context import OperationContext
from cachewright.operations.operation import Accepted, Operation
from cachewright.tasks.plan import SubStepSpec, build, effort
from cachewright.valkey.access import Access
from cachewright.valkey.client import NODE_GONE, NodeRefused
from cachewright.valkey.single_request import info

_STEP = "Client connections."
_NODE_SECONDS, _EXPECTED_SECONDS = 0.05, 0.1
_ANSWER_SECONDS = 7.0


class CloseRequest(msgspec.Struct, frozen=True, kw_only=True):
    """:ivar node_id: None for all nodes."""

    node_id: str | None


class CloseClients(Operation[CloseRequest, CloseRequest]):
    kind = "close_clients"
    name = "KillClients"
    permission = "dcs:instance:closeClients"
    params = CloseRequest
    outline = (_STEP,)
    status_while_running = "RUNNING"

    def validate(self, instance: Instance, nodes: Sequence[Node], request: CloseRequest) -> Accepted[CloseRequest]:
        if request.node_id is not None and request.node_id not in {node.id for node in nodes}:
            raise ApiError(errors.INVALID_NODE_ID, node=request.node_id)
        return Accepted(request)

    def expected_seconds(self, task: Task, nodes: Sequence[Node], dataset: int) -> float:
        return _EXPECTED_SECONDS

    async def plan(self, context: OperationContext, task: Task) -> tuple[Step, ...]:
        """Nodes that are stopped have no clients. One that does not answer keeps no other from closing its clients."""
        instance, nodes = await context.instance_and_nodes(task)
        wanted = self.params_of(task).node_id
        chosen = [node for node in nodes if node.should_run and wanted in {None, node.id}]
        connected = await asyncio.gather(*(_connected(node, context.access(instance)) for node in chosen))
        closings = [_closing(node, clients) for node, clients in zip(chosen, connected, strict=True)]
        return build(task.run_id, {_STEP: closings})


async def _connected(node: Node, access: Access) -> int:
    """Return the number of connections of the node; 0 if it does not answer or refuses."""
    with suppress(*NODE_GONE, NodeRefused):
        return int((await info(node, access, ("clients",), _ANSWER_SECONDS)).get("connected_clients", 0))
    return 0


def _closing(node: Node, clients: int) -> SubStepSpec:
    work = effort(node.id, seconds=_NODE_SECONDS, unit="clients", total=max(clients, 1))
    return close_connections.sub_step(f"Client connections. Node {node.host}:{node.port}", work, NodeArguments(node.id))


CLOSE_CLIENTS = CloseClients()
