"""Following a source until its owner cuts over: rounds of copies, the lag, the exact end."""

import asyncio
import time
from collections.abc import Sequence

from cachewright.jobs.migrations.copying import Copying
from cachewright.jobs.migrations.failure import StreamInterrupted
from cachewright.jobs.migrations.figures import Figures
from cachewright.jobs.migrations.lag import Lag, LagWatch
from cachewright.jobs.migrations.quiet import Activity, is_quiet
from cachewright.jobs.migrations.run import SourceRun
from cachewright.jobs.migrations.shards import Shard
from cachewright.valkey.client import NODE_GONE, NodeRefused
from cachewright.valkey.sources import gateway as gateways
from cachewright.valkey.sources.source import SourceUnusable
from cachewright.valkey.sources.target import TargetLoad

_ROUND_SECONDS = 0.05
_REPORT_SECONDS = 0.3
_CUT_OVER = "the cut-over"


class ShardFollower:
    """Follows one primary of the source."""

    def __init__(self, run: SourceRun, shard: Shard) -> None:
        self._run = run
        self._shard = shard
        self._copying: Copying | None = None
        self._lag = LagWatch()
        self._copied_offset = 0
        self.source_offset = 0
        self.source_keys = 0
        self._source_removed = 0

    async def keep_up(self) -> bool:
        """Copy what has changed. Return whether there was anything. Waits for the source. Raises JobFailed."""
        try:
            copying = await self._current()
            if not copying.stream.is_whole:
                await self._run.note("warning", f"all keys of gateway {self._shard.number} are copied again")
                await copying.copy_all()
            found = await copying.copy_changed()
        except StreamInterrupted:
            self._run.machine.streams.close(self._run.gateway(self._shard.number).name)
            await asyncio.sleep(_ROUND_SECONDS)
            return True
        return found

    def see_source(self) -> None:
        """Take the position of the source in its stream of writes into account. Raises JobFailed."""
        primary = self._run.primary(self._shard)
        self.source_offset, self.source_keys = primary.offset, sum(primary.keys.values())
        self._source_removed = primary.removed

    def activity(self) -> Activity | None:
        """Return what the source has done; None if its gateway has no stream now."""
        stream = self._run.machine.streams.get(self._run.gateway(self._shard.number).name)
        if stream is None:
            return None
        return Activity(run=stream.run, writes=stream.writes, removals=stream.removals, removed=self._source_removed)

    def lag(self) -> Lag:
        stream = self._run.machine.streams.get(self._run.gateway(self._shard.number).name)
        if stream is not None and stream.is_whole:
            self._copied_offset = stream.copied_offset
        keys = len(stream.changed) if stream else 0
        return self._lag.see(time.monotonic(), self.source_offset, self._copied_offset, keys)

    @property
    def is_ready(self) -> bool:
        return self._lag.is_ready

    @property
    def has_reached_source(self) -> bool:
        """Whether everything is copied up to the position that `see_source` has read."""
        stream = self._run.machine.streams.get(self._run.gateway(self._shard.number).name)
        return stream is not None and stream.is_whole and stream.copied_offset >= self.source_offset

    async def finish(self) -> None:
        """End the replication, and copy the rest. Raises StreamInterrupted, or JobFailed."""
        copying = await self._current()
        await detach(copying)

    async def target_load(self) -> TargetLoad:
        """Return what the nodes of the instance measure. Raises StreamInterrupted, or JobFailed."""
        copying = await self._current()
        return await copying.target_load()

    async def _current(self) -> Copying:
        """Return the open stream; a new one if its gateway has ended. A link that was lost is waited for."""
        try:
            stream = await self._run.stream(self._shard)
        except (*NODE_GONE, NodeRefused) as error:
            raise StreamInterrupted(str(error)) from error
        if self._copying is None or self._copying.stream is not stream:
            self._copying = Copying(self._run, self._shard, stream)
        return self._copying


async def detach(copying: Copying) -> None:
    """End the replication of a gateway, and copy what it has received until then. The instance is then the source at
    one moment. Raises StreamInterrupted, or JobFailed."""
    try:
        await gateways.detach(copying.stream.gateway)
    except (*NODE_GONE, NodeRefused) as error:
        raise StreamInterrupted(str(error)) from error
    while await copying.copy_changed():
        pass
    await copying.copy_unreported()
    await copying.target_load()
    if not copying.stream.is_whole or copying.stream.copier.has_new_owners:
        raise StreamInterrupted(
            "a node of the instance was started again or replaced, or the source has deleted all keys"
        )
    await copying.note_evictions()


async def follow(run: SourceRun, shards: Sequence[Shard]) -> None:
    """Keep the instance equal to the source until the cut-over is requested and everything is copied. Raises
    JobFailed."""
    followers = [ShardFollower(run, shard) for shard in shards]
    reported_at = float("-inf")
    while True:
        run.caller.raise_if_cancelled()
        found = [await follower.keep_up() for follower in followers]
        if time.monotonic() - reported_at >= _REPORT_SECONDS:
            reported_at = time.monotonic()
            try:
                await _see_source(run, followers)
                await _report(run, followers)
            except SourceUnusable as reason:
                await run.wait_for_source(reason)
                continue
            except StreamInterrupted:
                continue
            if await run.caller.is_cut_over():
                break
        run.caller.begin_wait(f"waiting for {_CUT_OVER}", cause=_CUT_OVER)
        if not any(found):
            await asyncio.sleep(_ROUND_SECONDS)
    await _cut_over(run, followers)


async def _look_patiently(run: SourceRun, followers: Sequence[ShardFollower]) -> None:
    """Same as `_see_source`, but wait for a source that cannot be used now."""
    await run.look_patiently()
    for follower in followers:
        follower.see_source()


async def _see_source(run: SourceRun, followers: Sequence[ShardFollower]) -> None:
    """Read the positions of all primaries of the source. Raises SourceUnusable, or JobFailed."""
    await run.look()
    for follower in followers:
        follower.see_source()


async def _report(run: SourceRun, followers: Sequence[ShardFollower]) -> None:
    lags = [follower.lag() for follower in followers]
    load = await followers[0].target_load()
    figures = Figures(
        lag_bytes=sum(lag.size for lag in lags),
        lag_keys=sum(lag.keys for lag in lags),
        lag_seconds=max(lag.seconds for lag in lags),
        offset=sum(follower.source_offset for follower in followers),
        source_keys=sum(follower.source_keys for follower in followers),
        target_keys=load.keys,
        target_kbps=load.kbps,
        target_ops=load.ops,
        ready=int(all(follower.is_ready for follower in followers)),
    )
    run.caller.measure(detail=figures.detail)


async def _cut_over(run: SourceRun, followers: Sequence[ShardFollower]) -> None:
    """Copy the rest, once the source gets no more writes: in a whole round, from one position of the source to a later
    one, nothing was written, and no more was removed than has expired."""
    run.caller.end_wait()
    await run.note("info", "the cut-over has begun")
    while True:
        await _reach_source(run, followers)
        before = [follower.activity() for follower in followers]
        await _reach_source(run, followers)
        await _report(run, followers)
        if _are_quiet(before, [follower.activity() for follower in followers]):
            break
        run.caller.show("the source still gets writes")
    run.caller.show("")
    for follower in followers:
        await follower.finish()
    await _look_patiently(run, followers)  # JobFailed if slots have moved before the end of the replication
    await run.note("info", "everything is copied")


def _are_quiet(before: Sequence[Activity | None], after: Sequence[Activity | None]) -> bool:
    return all(old and new and is_quiet(old, new) for old, new in zip(before, after, strict=True))


async def _reach_source(run: SourceRun, followers: Sequence[ShardFollower]) -> None:
    """Return when everything is copied that the source had at the time of the call."""
    await _look_patiently(run, followers)
    for follower in followers:
        await follower.keep_up()
        while not follower.has_reached_source:
            run.caller.raise_if_cancelled()
            await asyncio.sleep(_ROUND_SECONDS)
            await follower.keep_up()
