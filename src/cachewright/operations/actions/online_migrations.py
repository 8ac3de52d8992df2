"""Actions of migrations from outside: replicate a source, copy its keys, follow its changes, remove the gateways."""

from cachewright.jobs.migrations.shards import CopyShard, FollowSource, SyncGateway
from cachewright.operations.actions.action import NoArguments, action
from cachewright.operations.context import OperationContext
from cachewright.operations.online_migrations.parts import perform
from cachewright.operations.online_migrations.removal import remove_gateways
from cachewright.tasks.operation import StepContext

LONGEST_SECONDS = 365 * 24 * 3600.0
"""Limit of an attempt. Sources that are large or far away take long; the owner sees the progress and can stop it."""


@action("sync gateway", SyncGateway, timeout=LONGEST_SECONDS, attempts=10, cancelling=5)
async def sync_gateway(context: OperationContext, step: StepContext, arguments: SyncGateway) -> None:
    """Ensure that a gateway has all data of its primary and follows it."""
    await perform(context, step, arguments)


@action("copy keys", CopyShard, timeout=LONGEST_SECONDS, attempts=10, cancelling=10)
async def copy_keys(context: OperationContext, step: StepContext, arguments: CopyShard) -> None:
    """Ensure that the instance has every key of a primary of the source, as it was at some time after the begin of the
    sub-step."""
    await perform(context, step, arguments)


@action("follow source", FollowSource, timeout=LONGEST_SECONDS, attempts=10, cancelling=10)
async def follow_source(context: OperationContext, step: StepContext, arguments: FollowSource) -> None:
    """Keep the instance equal to its source until the owner cuts over and everything is copied."""
    await perform(context, step, arguments)


@action("remove gateways", NoArguments, timeout=120, attempts=6, cancelling=5)
async def remove_all_gateways(context: OperationContext, step: StepContext, arguments: NoArguments) -> None:
    """Ensure that no gateway of the migration exists on a host that reports."""
    await remove_gateways(context, step.task)
