"""The work of the sub-steps of a migration: replicate a source, copy its keys, follow its changes."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from cachewright import errors
from cachewright.jobs.failure import JobFailed
from cachewright.jobs.migrations.copying import Copying
from cachewright.jobs.migrations.failure import StreamInterrupted
from cachewright.jobs.migrations.following import detach, follow
from cachewright.jobs.migrations.run import SourceRun
from cachewright.jobs.migrations.shards import CopyShard, FollowSource, Shard, SyncGateway
from cachewright.valkey.client import NODE_GONE, NodeRefused
from cachewright.valkey.sources.gateway import GatewayState

_AGAIN_SECONDS = 0.2
_RECEIVED = 0.6
"""Share of the duration of a synchronization before the gateway loads what it has received."""


async def perform(run: SourceRun, part: SyncGateway | CopyShard | FollowSource, total: float) -> None:
    """Perform a part. Raises JobFailed, or one of NODE_GONE or NodeRefused.

    :param total: see `Work.total` of the sub-step.
    """
    match part:
        case SyncGateway(shard):
            await _sync(run, shard, total)
        case CopyShard():
            await _copy(run, part, total)
        case _:
            with _interruptions_as_failures(), streams_closed_on_failure(run, part.shards):
                await follow(run, part.shards)


async def _sync(run: SourceRun, shard: Shard, total: float) -> None:
    """Ensure that a gateway has all data of its primary and follows it."""

    def report(state: GatewayState) -> None:
        received = min(state.received / (state.to_receive or total), 1.0)
        loaded = state.loaded / state.to_load if state.to_load else 0.0
        share = _RECEIVED + (1 - _RECEIVED) * loaded if state.to_load else _RECEIVED * received
        shown = f"{{received_bytes:{state.received},loaded_bytes:{state.loaded}/{state.to_load}}}"
        run.caller.measure(done=min(share, 1.0) * total, detail=shown)

    with _interruptions_as_failures():
        await run.linked(shard, report)
    await run.note("info", f"gateway {shard.number} has all data of its source")


async def _copy(run: SourceRun, part: CopyShard, total: float) -> None:
    """Ensure that the instance has every key of a primary of the source, as it was at some time after the begin."""
    shard = part.shard

    def report(copied: int) -> None:
        run.caller.measure(done=min(copied, total), detail=f"{{keys_copied:{copied}}}")

    while True:
        try:
            with streams_closed_on_failure(run, (shard,)):
                stream = await (run.direct_stream(shard) if part.direct else run.stream(shard))
                copying = Copying(run, shard, stream)
                await copying.copy_all(report)
                if part.detach:
                    await detach(copying)
                if part.direct:
                    await copying.note_evictions()
                if part.detach or part.direct:
                    await run.require_same_slots(shard)
                return
        except (StreamInterrupted, *NODE_GONE, NodeRefused) as error:
            await run.note("warning", f"gateway {shard.number} was interrupted: {error}")
            run.caller.raise_if_cancelled()
            await asyncio.sleep(_AGAIN_SECONDS)


@contextmanager
def _interruptions_as_failures() -> Iterator[None]:
    """Turn the end of a gateway into a failure of the attempt, which is repeated."""
    try:
        yield
    except StreamInterrupted as error:
        raise JobFailed(errors.MIGRATION_INTERRUPTED, "a gateway does not answer") from error


@contextmanager
def streams_closed_on_failure(run: SourceRun, shards: Sequence[Shard]) -> Iterator[None]:
    """Close streams on the event loop that has opened them, unless the next sub-step continues with them."""
    try:
        yield
    except BaseException:
        for shard in shards:
            run.machine.streams.close(run.gateway(shard.number).name)
        raise
