"""A running migration on the machine of its gateways: its source, its gateways. Functions ensure their result and may
be repeated."""

import asyncio
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Annotated

import msgspec

from cachewright import errors
from cachewright.hosts.host import CONFIG, NodeStartFailed
from cachewright.jobs.failure import JobFailed
from cachewright.jobs.migrations.caller import Caller
from cachewright.jobs.migrations.gateway_limits import (
    gateway_memory,
    limit_gateway,
    require_disk,
    require_host_memory,
    require_stored,
    require_within_limits,
)
from cachewright.jobs.migrations.machine import GatewayMachine
from cachewright.jobs.migrations.shards import Shard
from cachewright.model.online_migrations import LogLevel
from cachewright.valkey.access import Access
from cachewright.valkey.session import Session
from cachewright.valkey.sources import gateway as gateways
from cachewright.valkey.sources.changed_keys import ChangedKeys
from cachewright.valkey.sources.copier import KeyCopier
from cachewright.valkey.sources.direct_copier import DirectCopier, direct_session
from cachewright.valkey.sources.gateway import Followed, Gateway, GatewayState
from cachewright.valkey.sources.shape import SourcePrimary, look
from cachewright.valkey.sources.source import Source, SourceUnusable, without_secret
from cachewright.valkey.sources.stream import Stream
from cachewright.valkey.sources.target import TargetLinks

_POLL_SECONDS = 0.1
_SOURCE_SECONDS = 1.0
"""Pause between two requests to the source itself while its gateway has no link."""

_COPY_SECONDS = 120.0


class Assignment(msgspec.Struct, frozen=True, kw_only=True):
    """A migration as its gateways need to know it. It has secrets.

    :ivar control_secret: password of the control plane on the nodes of the instance.
    :ivar databases: number of databases that the instance has.
    :ivar target_was_empty: see `OnlineMigration`, as `bandwidth_limit_mb`.
    :ivar copied_libraries: names of the function libraries that were copied.
    """

    migration_id: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]+$")]  # part of the name of a folder
    source: Source
    control_secret: str
    databases: int
    target_was_empty: bool
    bandwidth_limit_mb: int | None
    copied_libraries: tuple[str, ...]


class SourceRun:
    """:ivar copied_libraries: see `Assignment`."""

    def __init__(self, machine: GatewayMachine, caller: Caller, assignment: Assignment, access: Access) -> None:
        """:param access: credentials for the nodes of the instance, on this machine."""
        self.machine = machine
        self.caller = caller
        self.assignment = assignment
        self.copied_libraries = frozenset(assignment.copied_libraries)
        self._access = access
        self._logged: str | None = None
        self._known: tuple[SourcePrimary, ...] = ()

    def gateway(self, number: int) -> Gateway:
        return self.machine.gateway(self.assignment.migration_id, number, self.assignment.control_secret)

    async def keep_libraries(self, names: Collection[str]) -> None:
        """Store the names of function libraries before they are copied."""
        await self.caller.keep_libraries(names)
        self.copied_libraries = frozenset(names)

    async def look(self) -> None:
        """Find the present primaries of the source. Raises SourceUnusable."""
        self._known = (await look(self.assignment.source)).primaries

    def primary(self, shard: Shard) -> SourcePrimary:
        """Return the primary of a part of the source, as it was found last. Raises JobFailed DCS.9020 if the source
        has moved slots."""
        for found in self._known:
            if found.slots == shard.ranges:
                return found
        message = "slots of the source have moved between its primaries; restart the migration when they have settled"
        raise JobFailed(errors.SOURCE_UNUSABLE, message, final=True)

    async def look_patiently(self) -> None:
        """Same as `look`, but wait for a source that cannot be used now. Raises JobFailed."""
        while True:
            self.caller.raise_if_cancelled()
            try:
                await self.look()
            except SourceUnusable as reason:
                await self.wait_for_source(reason)
            else:
                self.caller.end_wait()
                return

    async def require_same_slots(self, shard: Shard) -> None:
        """Raise JobFailed DCS.9020 if the source has moved slots since the begin. Waits for the source."""
        await self.look_patiently()
        self.primary(shard)

    async def linked(self, shard: Shard, seen: Callable[[GatewayState], None] = lambda state: None) -> GatewayState:
        """Return the state of a gateway that runs, follows the present primary and has its data. `seen` is called with
        each state before that.

        A source that does not answer is waited for, or ends the migration, as its `resume_mode` says. Raises
        JobFailed."""
        gateway = self.gateway(shard.number)
        loop = asyncio.get_running_loop()
        primary = self.primary(shard) if self._known else None
        asked_at, has_waited = float("-inf"), False
        while True:
            self.caller.raise_if_cancelled()
            await self._start(gateway, primary)
            state = await gateways.state(gateway)
            followed = await self._followed(gateway, primary) if primary else None
            if state is not None and followed is not None and state.source == followed.address and state.is_linked:
                if has_waited:
                    self.caller.end_wait()
                return state
            if state is not None:
                await self.require_memory(state, shard)
                if primary is not None:
                    await require_disk(self.machine, gateway, state, gateway_memory(primary.used_memory))
                seen(state)
            if loop.time() - asked_at >= _SOURCE_SECONDS:
                asked_at = loop.time()
                try:
                    await self.look()
                    primary = self.primary(shard)
                    await require_stored(self.machine, gateway, gateway_memory(primary.used_memory))
                    await self._require_no_complaint(gateway, state)
                    if has_waited:
                        self.caller.end_wait()
                except SourceUnusable as reason:
                    has_waited = True
                    await self.wait_for_source(reason)
                    continue
            followed = await self._followed(gateway, primary) if primary else None
            if state is not None and primary is not None and followed is not None and state.source != followed.address:
                await self.note("info", f"gateway {shard.number} replicates {primary.address}")
                await limit_gateway(self.machine, gateway, gateway_memory(primary.used_memory))
                await gateways.follow(gateway, followed)
            await asyncio.sleep(_POLL_SECONDS)

    async def _followed(self, gateway: Gateway, primary: SourcePrimary) -> Followed:
        """Return where the gateway finds a primary."""
        source = self.assignment.source
        if source.tls is None:
            return Followed(primary.host, primary.port, source.user, source.password)
        return await self.machine.relays.ensure(gateway.name, source.place(primary.host, primary.port, primary.name))

    async def wait_for_source(self, reason: SourceUnusable) -> None:
        """Wait a moment for a source that cannot be used now. Raises JobFailed DCS.9020 if its owner does not want
        that, who may have changed it meanwhile."""
        if await self.caller.resume_mode() == "manual":
            raise JobFailed(errors.SOURCE_UNUSABLE, reason.message, final=True) from reason
        await self.note("warning", reason.message)
        self.caller.begin_wait(f"waiting for the source: {readable(reason.message)}", cause="the source")
        await asyncio.sleep(_SOURCE_SECONDS)

    async def stream(self, shard: Shard) -> Stream:
        """Return the open stream of a gateway. A new one has copied nothing. Raises JobFailed, or one of NODE_GONE
        if the gateway ends meanwhile."""
        gateway = self.gateway(shard.number)
        state = await self.linked(shard)
        found = self.machine.streams.get(gateway.name)
        if found is not None:
            found.copier.find_target = self.caller.find_target  # that of an earlier sub-step has ended with it
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
        links = TargetLinks(self._access)
        copier = copier_type(session, links, self.caller.find_target)
        stream = Stream(gateway=gateway, session=session, changed=changed, links=links, copier=copier)
        self.machine.streams.keep(stream)
        return stream

    async def direct_stream(self, shard: Shard) -> Stream:
        """Return a stream that copies keys of a primary which cannot be replicated. It knows no changes. Waits for the
        source. Raises JobFailed, or one of NODE_GONE or NodeRefused."""
        await self.look_patiently()
        primary = self.primary(shard)
        session = await direct_session(self.assignment.source, primary)
        stream = self._kept(self.gateway(shard.number), session, ChangedKeys(), DirectCopier)
        stream.databases |= primary.keys.keys()
        return stream

    async def note(self, level: LogLevel, message: str) -> None:
        """Add an entry to the log of the migration, unless it repeats the last one."""
        if message == self._logged:
            return
        self._logged = message
        await self.caller.note(level, message)

    async def _start(self, gateway: Gateway, primary: SourcePrimary | None) -> None:
        processes = self.machine.processes
        if await processes.process(gateway.name):
            return
        await require_within_limits(gateway, gateway_memory(primary.used_memory) if primary else None)
        await processes.write_files(gateway.name, {CONFIG: gateways.gateway_conf(gateway)})
        try:
            await processes.start(gateway.name)
        except NodeStartFailed as failure:
            raise JobFailed(errors.NODE_START_FAILED, f"the gateway did not start: {failure}") from failure

    async def _require_no_complaint(self, gateway: Gateway, state: GatewayState | None) -> None:
        """Raise SourceUnusable if the log of a gateway says that its source refuses the replication, and JobFailed
        DCS.9020 if it always will."""
        if state is None or state.is_linked or state.received or state.to_load:
            return
        words = gateways.complaint(await asyncio.to_thread(gateways.read_log, gateway))
        if words is None:
            return
        shown = without_secret(words, self.assignment.source.password)
        reason = SourceUnusable(shown, passes=not gateways.is_final(words))
        if not reason.passes:
            raise JobFailed(errors.SOURCE_UNUSABLE, f"the source cannot be replicated: {reason.message}", final=True)
        raise reason

    async def require_memory(self, state: GatewayState, shard: Shard) -> None:
        """Raise JobFailed DCS.4036 if a gateway has grown far beyond its source, which may have grown too, or the
        host is almost out of memory. A replica does not enforce a limit of its own."""
        await require_host_memory(self.machine, "the source is replicated")
        if not self._known or state.used_memory <= gateway_memory(self.primary(shard).used_memory):
            return
        with suppress(SourceUnusable):
            await self.look()
        primary = self.primary(shard)
        if state.used_memory > gateway_memory(primary.used_memory):
            message = f"the gateway uses {state.used_memory} bytes, its source has {primary.used_memory}"
            raise JobFailed(errors.NOT_ENOUGH_MEMORY, message, final=True)
        await limit_gateway(self.machine, self.gateway(shard.number), gateway_memory(primary.used_memory))


def readable(words: str) -> str:
    """Return words in a form that can stand in the detail of a sub-step."""
    return words.translate(str.maketrans(",{}", ";()"))
