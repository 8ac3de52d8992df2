"""Actions of migrations from outside: replicate a source, copy its keys, follow its changes, remove the gateways."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import msgspec

from cachewright import errors
from cachewright.operations.actions.action import NoArguments, action
from cachewright.operations.context import OperationContext
from cachewright.operations.online_migrations.copying import Copying, StreamInterrupted
from cachewright.operations.online_migrations.following import detach, follow
from cachewright.operations.online_migrations.removal import remove_gateways
from cachewright.operations.online_migrations.run import MigrationRun
from cachewright.operations.online_migrations.shards import Shard
from cachewright.tasks.operation import ActionFailed, StepContext
from cachewright.valkey.client import NODE_GONE, NodeRefused
from cachewright.valkey.sources.gateway import GatewayState

LONGEST_SECONDS = 365 * 24 * 3600.0
"""Limit of an attempt. Sources that are large or far away take long; the owner sees the progress and can stop it."""

_AGAIN_SECONDS = 0.2
_RECEIVED = 0.6
"""Share of the duration of a synchronization before the gateway loads what it has received."""


class CopyShard(msgspec.Struct, frozen=True):
    """:ivar detach: end with the source as it is when the copy ends.
    :ivar direct: copy from the source itself, which cannot be replicated.
    """

    shard: Shard
    detach: bool
    direct: bool = False


class FollowSource(msgspec.Struct, frozen=True):
    shards: tuple[Shard, ...]


class SyncGateway(msgspec.Struct, frozen=True):
    shard: Shard


@action("sync gateway", SyncGateway, timeout=LONGEST_SECONDS, attempts=10, cancelling=5)
async def sync_gateway(context: OperationContext, step: StepContext, arguments: SyncGateway) -> None:
    """Ensure that a gateway has all data of its primary and follows it."""
    run = await MigrationRun.load(context, step.task)
    total = step.sub_step.work.total

    def report(state: GatewayState) -> None:
        received = min(state.received / (state.to_receive or total), 1.0)
        loaded = state.loaded / state.to_load if state.to_load else 0.0
        share = _RECEIVED + (1 - _RECEIVED) * loaded if state.to_load else _RECEIVED * received
        shown = f"{{received_bytes:{state.received},loaded_bytes:{state.loaded}/{state.to_load}}}"
        step.measure(done=min(share, 1.0) * total, detail=shown)

    with _interruptions_as_failures():
        await run.linked(step, arguments.shard, report)
    await run.note("info", f"gateway {arguments.shard.number} has all data of its source")


@action("copy keys", CopyShard, timeout=LONGEST_SECONDS, attempts=10, cancelling=10)
async def copy_keys(context: OperationContext, step: StepContext, arguments: CopyShard) -> None:
    """Ensure that the instance has every key of a primary of the source, as it was at some time after the begin of the
    sub-step."""
    run = await MigrationRun.load(context, step.task)
    total = step.sub_step.work.total

    def report(copied: int) -> None:
        step.measure(done=min(copied, total), detail=f"{{keys_copied:{copied}}}")

    while True:
        try:
            with streams_closed_on_failure(run, (arguments.shard,)):
                shard = arguments.shard
                stream = await (run.direct_stream(step, shard) if arguments.direct else run.stream(step, shard))
                copying = Copying(run, step, shard, stream)
                await copying.copy_all(report)
                if arguments.detach:
                    await detach(copying)
                if arguments.direct:
                    await copying.note_evictions()
                if arguments.detach or arguments.direct:
                    await run.require_same_slots(step, shard)
                return
        except (StreamInterrupted, *NODE_GONE, NodeRefused) as error:
            await run.note("warning", f"gateway {arguments.shard.number} was interrupted: {error}")
            step.raise_if_cancelled()
            await asyncio.sleep(_AGAIN_SECONDS)


@action("follow source", FollowSource, timeout=LONGEST_SECONDS, attempts=10, cancelling=10)
async def follow_source(context: OperationContext, step: StepContext, arguments: FollowSource) -> None:
    """Keep the instance equal to its source until the owner cuts over and everything is copied."""
    run = await MigrationRun.load(context, step.task)
    with _interruptions_as_failures(), streams_closed_on_failure(run, arguments.shards):
        await follow(run, step, arguments.shards)


@action("remove gateways", NoArguments, timeout=120, attempts=6, cancelling=5)
async def remove_all_gateways(context: OperationContext, step: StepContext, arguments: NoArguments) -> None:
    """Ensure that no gateway of the migration exists."""
    await remove_gateways(context, str(step.task.params["migration_id"]))


@contextmanager
def _interruptions_as_failures() -> Iterator[None]:
    """Turn the end of a gateway into a failure of the attempt, which is repeated."""
    try:
        yield
    except StreamInterrupted as error:
        raise ActionFailed(errors.MIGRATION_INTERRUPTED, "a gateway does not answer") from error


@contextmanager
def streams_closed_on_failure(run: MigrationRun, shards: Sequence[Shard]) -> Iterator[None]:
    """Close streams on the event loop that has opened them, unless the next sub-step continues with them."""
    try:
        yield
    except BaseException:
        for shard in shards:
            run.context.streams.close(run.gateway(shard.number).name)
        raise
