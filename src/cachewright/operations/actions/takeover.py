"""Actions of a restore around its takeover: backup of the present data, check, opening, replicas."""

import asyncio

import msgspec

from cachewright.clock import now_ms
from cachewright.model.tasks import Task
from cachewright.operations.actions.action import NodeArguments, action
from cachewright.operations.actions.cluster import is_settled
from cachewright.operations.actions.node_status import NodeList, settle
from cachewright.operations.actions.nodes import StartNode, launch
from cachewright.operations.actions.replicas import Synchronization
from cachewright.operations.context import OperationContext
from cachewright.operations.restore_folders import exchange_data, former_folder, new_folder
from cachewright.store import backups
from cachewright.tasks.operation import StepContext
from cachewright.topologies import topology_of
from cachewright.valkey import plain_replication

_POLL_SECONDS = 0.05
_STOP_SECONDS = 120.0
_DAY_SECONDS = 24 * 3600


class KeepBackup(msgspec.Struct, frozen=True):
    backup_id: str


@action("keep backup", KeepBackup, timeout=60, attempts=6)
async def keep_backup(context: OperationContext, step: StepContext, arguments: KeepBackup) -> None:
    """Record that the backup of the present data has succeeded, whatever becomes of the restore."""

    def write() -> None:
        with context.database.write() as connection:
            found = backups.find(connection, step.task.project_id, arguments.backup_id)
            if found is not None and found.state == "pending":
                backups.change(connection, arguments.backup_id, state="succeed", ended_at=now_ms())

    await asyncio.to_thread(write)
    step.measure(detail=f"{{backup_id:{arguments.backup_id}}}")


@action("check data", NodeList, timeout=120, attempts=3, cancelling=5)
async def check_data(context: OperationContext, step: StepContext, arguments: NodeList) -> None:
    """Wait until primaries with new data make a whole instance. Their ports stay closed to clients. One that has died
    is started again: the supervisor does not know it."""
    instance, nodes = await context.instance_and_nodes(step.task)
    topology, access = topology_of(instance.spec_code), context.access(instance)
    started = [node for node in nodes if node.id in arguments.node_ids]
    while True:
        step.raise_if_cancelled()
        for node in started:
            if await context.host.process(node.id) is None:
                await launch(context, step, StartNode(node.id, founding=False), closed=True)
        if topology.is_cluster:
            settled = sum(await asyncio.gather(*(is_settled(topology, node, started, access) for node in started)))
        else:  # outside of clusters a primary that is closed to clients need not know others
            settled = sum(map(bool, (await context.views(instance, started, needed="all")).values()))
        step.measure(done=settled, detail=f"{{nodes_ready:{settled}/{len(started)}}}")
        if settled == len(started):
            return
        await asyncio.sleep(_POLL_SECONDS)


@action("take over", NodeList, timeout=600, attempts=6, cancelling=600)
async def take_over(context: OperationContext, step: StepContext, arguments: NodeList) -> None:
    """Let clients use the primaries with their new data. From here on the former data does not come back: clients may
    have written."""
    step.raise_if_cancelled()  # before it begins; from now on no cancellation is accepted
    instance, nodes = await context.instance_and_nodes(step.task)
    for node in nodes:
        if node.id in arguments.node_ids:
            await context.host.write_files(node.id, await context.files(instance, node))
            await context.change_node(node.id, should_run=True)
    await settle(context, step.task, arguments.node_ids, lambda done, of: step.measure(done=done))


@action("clear replica", NodeArguments, timeout=300, attempts=4, cancelling=60)
async def clear_replica(context: OperationContext, step: StepContext, arguments: NodeArguments) -> None:
    """Ensure that a replica has no data, so that it cannot take over with its former data before it has that of its
    primary."""
    await clear_data(context, step.task, arguments.node_id, _STOP_SECONDS)


async def clear_data(context: OperationContext, task: Task, node_id: str, grace_seconds: float) -> None:
    """Take a stopped node's data away, once in a task. ActionFailed if the node does not end."""
    if not await context.host.has_file(node_id, former_folder(task.id)):
        await context.host.create_folder(node_id, new_folder(task.id))
    await exchange_data(context, task.id, node_id, grace_seconds)


@action("copy data", NodeArguments, timeout=_DAY_SECONDS, attempts=6, first_delay=1.0, cancelling=5)
async def copy_data(context: OperationContext, step: StepContext, arguments: NodeArguments) -> None:
    """Ensure that a node of a new instance that is no cluster has all data of its primary, also in its append-only
    file."""
    await step.wait_until_allowed()
    instance, nodes = await context.instance_and_nodes(step.task)
    primary = next(node for node in nodes if node.role == "primary")
    await context.open_port(instance, primary)
    await plain_replication.accept_writes(primary, context.access(instance))
    node = next(node for node in nodes if node.id == arguments.node_id)
    await Synchronization(context, step, instance, node).ensure()
