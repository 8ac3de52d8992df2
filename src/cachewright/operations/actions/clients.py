"""Actions on the connections of clients."""

from cachewright.operations.actions.action import NodeArguments, action
from cachewright.operations.context import OperationContext
from cachewright.tasks.operation import StepContext
from cachewright.valkey.client_list import close_clients

_ANSWER_SECONDS = 7.0


@action("close clients", NodeArguments, timeout=600, attempts=4)
async def close_connections(context: OperationContext, step: StepContext, arguments: NodeArguments) -> None:
    """Close all connections of clients of a node. Those that are opened meanwhile may stay. A repetition also closes
    what clients have opened since."""
    instance = await context.instance(step.task)
    node = await context.node(instance.id, arguments.node_id)
    if node is None:
        return  # it has left the instance, with its clients

    def report(closed: int) -> None:
        shown = f"{{node_id:{node.id},clients_closed:{closed}}}"
        step.measure(done=min(closed, step.sub_step.work.total), detail=shown)

    await step.wait_until_allowed()
    await close_clients(node, context.access(instance), _ANSWER_SECONDS, report=report)
