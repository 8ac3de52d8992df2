"""Action that gives a stopped node the data back that it had before a restore which failed."""

import msgspec

from cachewright import errors
from cachewright.operations.actions.action import action
from cachewright.operations.context import OperationContext
from cachewright.operations.restore_folders import former_folder
from cachewright.tasks.operation import ActionFailed, StepContext
from cachewright.valkey.config import DATA_FOLDER

_STOP_SECONDS = 10.0


class FormerData(msgspec.Struct, frozen=True):
    """:ivar task_id: of the restore."""

    node_id: str
    task_id: str


@action("return former data", FormerData, timeout=300, attempts=4, cancelling=10)
async def return_former_data(context: OperationContext, step: StepContext, arguments: FormerData) -> None:
    """Ensure that a node has its former data, in place of what the restore has made for it."""
    former = former_folder(arguments.task_id)
    step.measure(detail=f"{{node_id:{arguments.node_id}}}")
    try:
        await context.host.bring_back_folder(arguments.node_id, DATA_FOLDER, former=former, grace_seconds=_STOP_SECONDS)
    except (TimeoutError, OSError) as error:
        message = f"the former data of node {arguments.node_id} cannot be brought back: {error}"
        raise ActionFailed(errors.NODE_START_FAILED, message) from error
