"""Action of a restore: divide the snapshot of an instance without a cluster by slots."""

import msgspec

from cachewright.backups.manifest import Manifest
from cachewright.jobs.results import Divided
from cachewright.jobs.spec import DivideSnapshot
from cachewright.model.instances import Node
from cachewright.operations.actions.action import action
from cachewright.operations.agent_jobs import perform_with_share
from cachewright.operations.context import OperationContext
from cachewright.operations.restore_files import RestoreFiles
from cachewright.operations.restore_folders import division_folder
from cachewright.operations.work_places import node_for_attempt
from cachewright.tasks.operation import StepContext

_DAY_SECONDS = 24 * 3600


class OrderSnapshot(msgspec.Struct, frozen=True):
    """:ivar host_name: of the host of the temporary node; None for that of the server.
    :ivar is_shared: agents get the divided snapshot, by the storage.
    """

    backup_id: str
    host_name: str | None = None
    is_shared: bool = False


@action("order snapshot", OrderSnapshot, timeout=_DAY_SECONDS, attempts=4, cancelling=5)
async def order_snapshot(context: OperationContext, step: StepContext, arguments: OrderSnapshot) -> None:
    """Ensure that the snapshot of an instance without a cluster is there, divided by slots: on the disk of the
    server, or in the storage for agents."""
    await step.wait_until_allowed()
    files = RestoreFiles(context, step.task.id)
    if await files.is_divided():
        return
    manifest = await files.manifest(arguments.backup_id)
    node = await node_for_attempt(context, step.task.instance_id, arguments.host_name)
    if node is not None:
        await _divide_elsewhere(context, step, node, manifest, files)
        return

    def report(share: float) -> None:
        step.raise_if_cancelled()
        step.measure(done=share * step.sub_step.work.total)

    await files.fetch(manifest, manifest.shards[0], lambda done: step.raise_if_cancelled())
    await files.order(manifest, report)
    if arguments.is_shared:
        await files.share(manifest)


async def _divide_elsewhere(
    context: OperationContext, step: StepContext, node: Node, manifest: Manifest, files: RestoreFiles
) -> None:
    """Let the agent of a node's host divide the snapshot and store it."""
    job = DivideSnapshot(
        folder=division_folder(step.task.id),
        storage=context.settings.backup_url,
        manifest=msgspec.structs.replace(manifest, password=None, accounts=(), parameters={}),
        target=await files.begin_division(manifest.backup_id),
        name=step.task.id,
    )
    divided = await perform_with_share(context, step, node, job, Divided)
    assert divided.manifest is not None  # noqa: S101  # a job that has succeeded tells it
    await files.store_divided(divided.manifest)
