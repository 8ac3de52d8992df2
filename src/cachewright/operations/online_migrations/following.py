"""Following a source until its owner cuts over: rounds of copies, the lag, the exact end."""

import asyncio
import time
from collections.abc import Sequence

import msgspec

from cachewright.model.tasks import Task
from cachewright.operations.online_migrations.copying import Copying, StreamInterrupted
from cachewright.operations.online_migrations.lag import Lag, LagWatch
from cachewright.operations.online_migrations.quiet import Activity, is_quiet
from cachewright.operations.online_migrations.records import record_of
from cachewright.operations.online_migrations.run import MigrationRun
from cachewright.operations.online_migrations.shards import Shard
from cachewright.tasks.operation import StepContext
from cachewright.valkey.client import NODE_GONE, NodeRefused
from cachewright.valkey.sources import gateway as gateways
from cachewright.valkey.sources.source import SourceUnusable
from cachewright.valkey.sources.target import TargetLoad

INCREMENTAL = "Incremental migration."
"""Name of the step that follows the source."""

_ROUND_SECONDS = 0.05
_REPORT_SECONDS = 0.3
_CUT_OVER = "the cut-over"


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What is shown of a migration that follows its source, as members of the detail of its sub-step."""

    lag_bytes: int
    lag_keys: int
    lag_seconds: float
    offset: int
    source_keys: int
    target_keys: int
    target_kbps: int
    target_ops: int
    ready: int

    @property
    def detail(self) -> str:
        members = msgspec.structs.asdict(self) | {"lag_seconds": round(self.lag_seconds, 2)}
        return "{" + ",".join(f"{name}:{value}" for name, value in members.items()) + "}"

    @classmethod
    def of_detail(cls, detail: str) -> "Figures | None":
        """Return the figures of a detail; None if it has none."""
        members = dict(member.split(":", 1) for member in detail.strip("{}").split(",") if ":" in member)
        try:
            return msgspec.convert({name: members[name] for name in cls.__struct_fields__}, cls, strict=False)
        except (KeyError, msgspec.ValidationError):
            return None


def following_figures(task: Task | None) -> Figures | None:
    """Return the figures of a task that follows its source, or did last."""
    steps = task.steps if task else ()
    details = [sub.detail for step in steps if step.name == INCREMENTAL for sub in step.sub_steps]
    return Figures.of_detail(details[0]) if details else None


class ShardFollower:
    """Follows one primary of the source."""

    def __init__(self, run: MigrationRun, step: StepContext, shard: Shard) -> None:
        self._run = run
        self._step = step
        self._shard = shard
        self._copying: Copying | None = None
        self._lag = LagWatch()
        self._copied_offset = 0
        self.source_offset = 0
        self.source_keys = 0
        self._source_removed = 0

    async def keep_up(self) -> bool:
        """Copy what has changed. Return whether there was anything. Waits for the source. Raises ActionFailed."""
        try:
            copying = await self._current()
            if not copying.stream.is_whole:
                await self._run.note("warning", f"all keys of gateway {self._shard.number} are copied again")
                await copying.copy_all()
            found = await copying.copy_changed()
        except StreamInterrupted:
            self._run.context.streams.close(self._run.gateway(self._shard.number).name)
            await asyncio.sleep(_ROUND_SECONDS)
            return True
        return found

    def see_source(self) -> None:
        """Take the position of the source in its stream of writes into account. Raises ActionFailed."""
        primary = self._run.primary(self._shard)
        self.source_offset, self.source_keys = primary.offset, sum(primary.keys.values())
        self._source_removed = primary.removed

    def activity(self) -> Activity | None:
        """Return what the source has done; None if its gateway has no stream now."""
        stream = self._run.context.streams.get(self._run.gateway(self._shard.number).name)
        if stream is None:
            return None
        return Activity(run=stream.run, writes=stream.writes, removals=stream.removals, removed=self._source_removed)

    def lag(self) -> Lag:
        stream = self._run.context.streams.get(self._run.gateway(self._shard.number).name)
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
        stream = self._run.context.streams.get(self._run.gateway(self._shard.number).name)
        return stream is not None and stream.is_whole and stream.copied_offset >= self.source_offset

    async def finish(self) -> None:
        """End the replication, and copy the rest. Raises StreamInterrupted, or ActionFailed."""
        copying = await self._current()
        await detach(copying)

    async def target_load(self) -> TargetLoad:
        """Return what the nodes of the instance measure. Raises StreamInterrupted, or ActionFailed."""
        copying = await self._current()
        return await copying.target_load()

    async def _current(self) -> Copying:
        """Return the open stream; a new one if its gateway has ended. A link that was lost is waited for."""
        try:
            stream = await self._run.stream(self._step, self._shard)
        except (*NODE_GONE, NodeRefused) as error:
            raise StreamInterrupted(str(error)) from error
        if self._copying is None or self._copying.stream is not stream:
            self._copying = Copying(self._run, self._step, self._shard, stream)
        return self._copying


async def detach(copying: Copying) -> None:
    """End the replication of a gateway, and copy what it has received until then. The instance is then the source at
    one moment. Raises StreamInterrupted, or ActionFailed."""
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


async def follow(run: MigrationRun, step: StepContext, shards: Sequence[Shard]) -> None:
    """Keep the instance equal to the source until the cut-over is requested and everything is copied. Raises
    ActionFailed."""
    followers = [ShardFollower(run, step, shard) for shard in shards]
    reported_at = float("-inf")
    while True:
        step.raise_if_cancelled()
        found = [await follower.keep_up() for follower in followers]
        if time.monotonic() - reported_at >= _REPORT_SECONDS:
            reported_at = time.monotonic()
            try:
                await _see_source(run, followers)
                await _report(step, followers)
            except SourceUnusable as reason:
                await run.wait_for_source(step, reason)
                continue
            except StreamInterrupted:
                continue
            run.migration = await record_of(run.context, step.task)
            if run.migration.cut_over_at is not None:
                break
        step.begin_wait(f"waiting for {_CUT_OVER}", cause=_CUT_OVER)
        if not any(found):
            await asyncio.sleep(_ROUND_SECONDS)
    await _cut_over(run, step, followers)


async def _look_patiently(run: MigrationRun, step: StepContext, followers: Sequence[ShardFollower]) -> None:
    """Same as `_see_source`, but wait for a source that cannot be used now."""
    await run.look_patiently(step)
    for follower in followers:
        follower.see_source()


async def _see_source(run: MigrationRun, followers: Sequence[ShardFollower]) -> None:
    """Read the positions of all primaries of the source. Raises SourceUnusable, or ActionFailed."""
    await run.look()
    for follower in followers:
        follower.see_source()


async def _report(step: StepContext, followers: Sequence[ShardFollower]) -> None:
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
    step.measure(detail=figures.detail)


async def _cut_over(run: MigrationRun, step: StepContext, followers: Sequence[ShardFollower]) -> None:
    """Copy the rest, once the source gets no more writes: in a whole round, from one position of the source to a later
    one, nothing was written, and no more was removed than has expired."""
    step.end_wait()
    await run.note("info", "the cut-over has begun")
    while True:
        await _reach_source(run, step, followers)
        before = [follower.activity() for follower in followers]
        await _reach_source(run, step, followers)
        await _report(step, followers)
        if _are_quiet(before, [follower.activity() for follower in followers]):
            break
        step.show("the source still gets writes")
    step.show("")
    for follower in followers:
        await follower.finish()
    await _look_patiently(run, step, followers)  # ActionFailed if slots have moved before the end of the replication
    await run.note("info", "everything is copied")


def _are_quiet(before: Sequence[Activity | None], after: Sequence[Activity | None]) -> bool:
    return all(old and new and is_quiet(old, new) for old, new in zip(before, after, strict=True))


async def _reach_source(run: MigrationRun, step: StepContext, followers: Sequence[ShardFollower]) -> None:
    """Return when everything is copied that the source had at the time of the call."""
    await _look_patiently(run, step, followers)
    for follower in followers:
        await follower.keep_up()
        while not follower.has_reached_source:
            step.raise_if_cancelled()
            await asyncio.sleep(_ROUND_SECONDS)
            await follower.keep_up()
