"""A running migration: its record, its source, its gateways. Functions ensure their result and may be repeated."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from cachewright import errors
from cachewright.clock import now_ms
from cachewright.hosts.host import CONFIG, NodeStartFailed
from cachewright.model.instances import Instance
from cachewright.model.online_migrations import LogLevel, MigrationEvent, OnlineMigration
from cachewright.model.tasks import Task
from cachewright.operations.context import OperationContext, best_view
from cachewright.operations.online_migrations.gateway_limits import (
    gateway_memory,
    limit_gateway,
    require_disk,
    require_host_memory,
    require_stored,
    require_within_limits,
)
from cachewright.operations.online_migrations.records import record_of
from cachewright.operations.online_migrations.shards import Shard
from cachewright.store import hosts
from cachewright.store import online_migrations as store
from cachewright.tasks.operation import ActionFailed, StepContext
from cachewright.valkey.acl import derived_password
from cachewright.valkey.session import Session
from cachewright.valkey.sources import gateway as gateways
from cachewright.valkey.sources.changed_keys import ChangedKeys
from cachewright.valkey.sources.copier import KeyCopier, TargetNotReady
from cachewright.valkey.sources.direct_copier import DirectCopier, direct_session
from cachewright.valkey.sources.gateway import Followed, Gateway, GatewayState
from cachewright.valkey.sources.shape import SourcePrimary, look
from cachewright.valkey.sources.source import Source, SourceUnusable, without_secret
from cachewright.valkey.sources.stream import Stream
from cachewright.valkey.sources.target import TargetLinks, TargetMap

_POLL_SECONDS = 0.1
_SOURCE_SECONDS = 1.0
"""Pause between two requests to the source itself while its gateway has no link."""

_COPY_SECONDS = 120.0


class MigrationRun:
    """:ivar migration: the record as it was when the sub-step began."""

    def __init__(
        self,
        context: OperationContext,
        task: Task,
        instance: Instance,
        migration: OnlineMigration,
        other_hosts: tuple[str, ...],
    ) -> None:
        """:param other_hosts: addresses of the other machines of the installation."""
        self._other_hosts = other_hosts
        self.context = context
        self.task = task
        self.instance = instance
        self.migration = migration
        self._logged: str | None = None
        self._known: tuple[SourcePrimary, ...] = ()

    @classmethod
    async def load(cls, context: OperationContext, task: Task) -> "MigrationRun":
        """Raises ActionFailed DCS.9020 if the migration was deleted."""
        instance = await context.instance(task)
        return cls(context, task, instance, await record_of(context, task), await _other_hosts(context))

    @property
    def source(self) -> Source:
        migration, identity = self.migration, None
        if migration.source_certificate and migration.source_key:
            identity = f"{migration.source_key}\n{migration.source_certificate}"
        return Source(
            addresses=tuple(part.strip() for part in migration.source_addresses.split(",") if part.strip()),
            user=migration.source_user,
            password=migration.source_password,
            watched_name=migration.source_name,
            tls=migration.source_tls,
            authorities=migration.source_ca or "",
            identity=identity,
            networks=self.context.settings.migration_networks,
            own=self._other_hosts,
        )

    def gateway(self, number: int) -> Gateway:
        name = f"{self.migration.id}.{number}"
        secret = derived_password(self.instance.control_secret, f"gateway {name}")
        return Gateway(name, secret, self.context.host.gateways_dir / name)

    async def find_target(self) -> TargetMap:
        """Return the present owners of the slots of the instance. Raises TargetNotReady."""
        try:
            _, nodes, views = await self.context.look(self.task, needed="none")
            found = TargetMap.of(nodes, best_view(views))
        except ActionFailed as failure:
            raise TargetNotReady(failure.message) from failure
        if found is None:
            raise TargetNotReady("a slot has no owner")
        return found

    async def look(self) -> None:
        """Find the present primaries of the source. Raises SourceUnusable."""
        self._known = (await look(self.source)).primaries

    def primary(self, shard: Shard) -> SourcePrimary:
        """Return the primary of a part of the source, as it was found last. Raises ActionFailed DCS.9020 if the source
        has moved slots."""
        for found in self._known:
            if found.slots == shard.ranges:
                return found
        message = "slots of the source have moved between its primaries; restart the migration when they have settled"
        raise ActionFailed(errors.SOURCE_UNUSABLE, message, final=True)

    async def look_patiently(self, step: StepContext) -> None:
        """Same as `look`, but wait for a source that cannot be used now. Raises ActionFailed."""
        while True:
            step.raise_if_cancelled()
            try:
                await self.look()
            except SourceUnusable as reason:
                await self.wait_for_source(step, reason)
            else:
                step.end_wait()
                return

    async def require_same_slots(self, step: StepContext, shard: Shard) -> None:
        """Raise ActionFailed DCS.9020 if the source has moved slots since the begin. Waits for the source."""
        await self.look_patiently(step)
        self.primary(shard)

    async def linked(
        self, step: StepContext, shard: Shard, seen: Callable[[GatewayState], None] = lambda state: None
    ) -> GatewayState:
        """Return the state of a gateway that runs, follows the present primary and has its data. `seen` is called with
        each state before that.

        A source that does not answer is waited for, or ends the migration, as its `resume_mode` says. Raises
        ActionFailed."""
        gateway = self.gateway(shard.number)
        loop = asyncio.get_running_loop()
        primary = self.primary(shard) if self._known else None
        asked_at, has_waited = float("-inf"), False
        while True:
            step.raise_if_cancelled()
            await self._start(gateway, primary)
            state = await gateways.state(gateway)
            followed = await self._followed(gateway, primary) if primary else None
            if state is not None and followed is not None and state.source == followed.address and state.is_linked:
                if has_waited:
                    step.end_wait()
                return state
            if state is not None:
                await self.require_memory(state, shard)
                if primary is not None:
                    await require_disk(self.context, gateway, state, gateway_memory(primary.used_memory))
                seen(state)
            if loop.time() - asked_at >= _SOURCE_SECONDS:
                asked_at = loop.time()
                try:
                    await self.look()
                    primary = self.primary(shard)
                    await require_stored(self.context, gateway, gateway_memory(primary.used_memory))
                    await self._require_no_complaint(gateway, state)
                    if has_waited:
                        step.end_wait()
                except SourceUnusable as reason:
                    has_waited = True
                    await self.wait_for_source(step, reason)
                    continue
            followed = await self._followed(gateway, primary) if primary else None
            if state is not None and primary is not None and followed is not None and state.source != followed.address:
                await self.note("info", f"gateway {shard.number} replicates {primary.address}")
                await limit_gateway(self.context, gateway, gateway_memory(primary.used_memory))
                await gateways.follow(gateway, followed)
            await asyncio.sleep(_POLL_SECONDS)

    async def _followed(self, gateway: Gateway, primary: SourcePrimary) -> Followed:
        """Return where the gateway finds a primary."""
        source = self.source
        if source.tls is None:
            return Followed(primary.host, primary.port, source.user, source.password)
        return await self.context.relays.ensure(gateway.name, source.place(primary.host, primary.port, primary.name))

    async def wait_for_source(self, step: StepContext, reason: SourceUnusable) -> None:
        """Wait a moment for a source that cannot be used now. Raises ActionFailed DCS.9020 if its owner does not want
        that, who may have changed it meanwhile."""
        self.migration = await record_of(self.context, self.task)
        if self.migration.resume_mode == "manual":
            raise ActionFailed(errors.SOURCE_UNUSABLE, reason.message, final=True) from reason
        await self.note("warning", reason.message)
        step.begin_wait(f"waiting for the source: {readable(reason.message)}", cause="the source")
        await asyncio.sleep(_SOURCE_SECONDS)

    async def stream(self, step: StepContext, shard: Shard) -> Stream:
        """Return the open stream of a gateway. A new one has copied nothing. Raises ActionFailed, or one of NODE_GONE
        if the gateway ends meanwhile."""
        gateway = self.gateway(shard.number)
        state = await self.linked(step, shard)
        found = self.context.streams.get(gateway.name)
        if found is not None:
            return found
        stream = await self._opened(gateway, await ChangedKeys.watch(gateway))
        stream.databases |= state.keys.keys()
        stream.swaps = state.swaps
        return stream

    async def file_stream(self, number: int, state: GatewayState) -> Stream:
        """Return a stream that copies keys of a gateway without changes. Raises one of NODE_GONE or NodeRefused."""
        stream = await self._opened(self.gateway(number), ChangedKeys())
        stream.databases |= state.keys.keys()
        return stream

    async def _opened(self, gateway: Gateway, changed: ChangedKeys) -> Stream:
        try:
            session = await gateways.session(gateway, _COPY_SECONDS)
        except BaseException:
            changed.close()
            raise
        return self._kept(gateway, session, changed, KeyCopier)

    def _kept(self, gateway: Gateway, session: Session, changed: ChangedKeys, copier_type: type[KeyCopier]) -> Stream:
        links = TargetLinks(self.context.access(self.instance))
        copier = copier_type(session, links, self.find_target)
        stream = Stream(gateway=gateway, session=session, changed=changed, links=links, copier=copier)
        self.context.streams.keep(stream)
        return stream

    async def direct_stream(self, step: StepContext, shard: Shard) -> Stream:
        """Return a stream that copies keys of a primary which cannot be replicated. It knows no changes. Waits for the
        source. Raises ActionFailed, or one of NODE_GONE or NodeRefused."""
        await self.look_patiently(step)
        primary = self.primary(shard)
        session = await direct_session(self.source, primary)
        stream = self._kept(self.gateway(shard.number), session, ChangedKeys(), DirectCopier)
        stream.databases |= primary.keys.keys()
        return stream

    async def note(self, level: LogLevel, message: str) -> None:
        """Add an entry to the log of the migration, unless it repeats the last one."""
        if message == self._logged:
            return
        self._logged = message
        event = MigrationEvent(migration_id=self.migration.id, created_at=now_ms(), level=level, message=message)

        def write() -> None:
            with self.context.database.write() as connection:
                store.log(connection, event)

        await asyncio.to_thread(write)

    async def _start(self, gateway: Gateway, primary: SourcePrimary | None) -> None:
        processes = self.context.host.gateways
        if await processes.process(gateway.name):
            return
        await require_within_limits(gateway, gateway_memory(primary.used_memory) if primary else None)
        await processes.write_files(gateway.name, {CONFIG: gateways.gateway_conf(gateway)})
        try:
            await processes.start(gateway.name)
        except NodeStartFailed as failure:
            raise ActionFailed(errors.NODE_START_FAILED, f"the gateway did not start: {failure}") from failure

    async def _require_no_complaint(self, gateway: Gateway, state: GatewayState | None) -> None:
        """Raise SourceUnusable if the log of a gateway says that its source refuses the replication, and ActionFailed
        DCS.9020 if it always will."""
        if state is None or state.is_linked or state.received or state.to_load:
            return
        words = gateways.complaint(await asyncio.to_thread(gateways.read_log, gateway))
        if words is None:
            return
        reason = SourceUnusable(without_secret(words, self.source.password), passes=not gateways.is_final(words))
        if not reason.passes:
            raise ActionFailed(errors.SOURCE_UNUSABLE, f"the source cannot be replicated: {reason.message}", final=True)
        raise reason

    async def require_memory(self, state: GatewayState, shard: Shard) -> None:
        """Raise ActionFailed DCS.4036 if a gateway has grown far beyond its source, which may have grown too, or the
        host is almost out of memory. A replica does not enforce a limit of its own."""
        await require_host_memory(self.context, "the source is replicated")
        if not self._known or state.used_memory <= gateway_memory(self.primary(shard).used_memory):
            return
        with suppress(SourceUnusable):
            await self.look()
        primary = self.primary(shard)
        if state.used_memory > gateway_memory(primary.used_memory):
            message = f"the gateway uses {state.used_memory} bytes, its source has {primary.used_memory}"
            raise ActionFailed(errors.NOT_ENOUGH_MEMORY, message, final=True)
        await limit_gateway(self.context, self.gateway(shard.number), gateway_memory(primary.used_memory))


async def _other_hosts(context: OperationContext) -> tuple[str, ...]:
    def read() -> tuple[str, ...]:
        with context.database.read() as connection:
            return hosts.other_addresses(connection)

    return await asyncio.to_thread(read)


def readable(words: str) -> str:
    """Return words in a form that can stand in the detail of a sub-step."""
    return words.translate(str.maketrans(",{}", ";()"))
