"""Folders that a restore makes below those of nodes: their names, their exchange and their deletion."""

import logging

from cachewright import errors
from cachewright.hosts.calls import HostSilent
from cachewright.jobs.spec import FETCHED_PREFIX
from cachewright.logs import RARELY
from cachewright.model.hosts import EMBEDDED
from cachewright.model.instances import Node
from cachewright.operations.context import OperationContext
from cachewright.tasks.operation import ActionFailed
from cachewright.valkey.config import DATA_FOLDER

log = logging.getLogger(__name__)


def new_folder(task_id: str) -> str:
    """Return the name of the folder with the data that a task makes for a node."""
    return f"restored-{task_id}"


def work_folder(task_id: str) -> str:
    """Return the name of the folder in which an agent makes the data of a node."""
    return f"{FETCHED_PREFIX}{task_id}"


def division_folder(task_id: str) -> str:
    """Return the name of the folder in which an agent divides the snapshot of a backup."""
    return f"{work_folder(task_id)}-divided"


def former_folder(task_id: str) -> str:
    """Return the name of the folder with the data that a node had before a task replaced it."""
    return f"before-{task_id}"


async def exchange_data(context: OperationContext, task_id: str, node_id: str, grace_seconds: float) -> None:
    """Ensure that a node has the data that the task has made for it, and keeps its former data beside it."""
    try:
        await context.host.exchange_folder(
            node_id,
            DATA_FOLDER,
            new=new_folder(task_id),
            former=former_folder(task_id),
            grace_seconds=grace_seconds,
        )
    except TimeoutError as error:
        raise ActionFailed(errors.CLUSTER_NOT_HEALTHY_IN_TIME, f"node {node_id} does not end: {error}") from error
    except OSError as error:
        message = f"the data of node {node_id} cannot be exchanged: {error.strerror or error}"
        raise ActionFailed(errors.NODE_START_FAILED, message) from error


async def delete_new(context: OperationContext, task_id: str, node: Node) -> bool:
    """Delete what a task has made for a node and has not exchanged. False if its host does not answer."""
    work = () if node.host_name == EMBEDDED else (work_folder(task_id), division_folder(task_id))
    return await _delete(context, node, new_folder(task_id), *work)


async def delete_former(context: OperationContext, task_id: str, node: Node) -> bool:
    """Delete the data that a node had before the restore, which serves now. False if its host does not answer."""
    return await _delete(context, node, former_folder(task_id))


async def _delete(context: OperationContext, node: Node, *folders: str) -> bool:
    try:
        await context.host.delete_folders(node.id, *folders)
    except HostSilent as silent:
        log.warning("folders of node %s cannot be deleted now: %s", node.id, silent, extra=RARELY)
        return False
    return True
