"""Copies of all keys of a gateway, and of its changed keys, with waits and limits."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar

from cachewright import errors
from cachewright.jobs.failure import JobFailed
from cachewright.jobs.migrations.failure import StreamInterrupted
from cachewright.jobs.migrations.run import SourceRun, readable
from cachewright.jobs.migrations.shards import Shard
from cachewright.jobs.migrations.throttle import Throttle
from cachewright.valkey.client import NODE_GONE, NodeBusy, NodeRefused
from cachewright.valkey.sources import gateway as gateways
from cachewright.valkey.sources.copier import FIRST, KEYS_AT_ONCE, KeysRefused, TargetNotReady
from cachewright.valkey.sources.direct_copier import DirectCopier
from cachewright.valkey.sources.gateway import GatewayState
from cachewright.valkey.sources.source import without_secret
from cachewright.valkey.sources.stream import Stream
from cachewright.valkey.sources.target import TargetLoad

_AGAIN_SECONDS = 0.1
_MOST_CHANGED = 100_000
"""Changed keys that may wait while all keys are copied. More would take memory of the server."""

_LIMIT = "the bandwidth limit"
_PAUSE_PART = 0.5
"""Seconds of a pause after which a request to stop is noticed."""

Result = TypeVar("Result")


class Copying:
    """Copies keys of one gateway in one sub-step. Methods raise StreamInterrupted, or JobFailed."""

    def __init__(self, run: SourceRun, shard: Shard, stream: Stream, *, follows: bool = True) -> None:
        """:param follows: whether the keys come from a gateway that follows its source."""
        self._follows = follows and not isinstance(stream.copier, DirectCopier)
        self._run = run
        self._caller = run.caller
        self._shard = shard
        self.stream = stream
        self._is_direct = isinstance(stream.copier, DirectCopier)
        limit = run.assignment.bandwidth_limit_mb
        self._throttle = Throttle(limit) if limit else None

    async def copy_all(self, report: Callable[[int], None] = lambda copied: None) -> None:
        """Copy every key, and delete keys of the instance that the gateway does not have, until the stream is whole.
        Keys that change meanwhile are copied later.

        :param report: is called with the number of copied keys after each part.
        """
        stream, streams = self.stream, self._run.machine.streams
        while not stream.is_whole:
            is_first = stream.gateway.name in streams.fresh
            streams.fresh.discard(stream.gateway.name)
            if not is_first and not self._run.assignment.target_was_empty:
                message = (
                    "keys that the source has deleted meanwhile are not known, and the instance had keys of its own "
                    "before the migration; delete all keys of the instance, then restart the migration"
                )
                raise JobFailed(errors.SOURCE_UNUSABLE, message, final=True)
            stream.changed.forget_flush()
            await self._copy_each(report)
            if not is_first and self._run.assignment.target_was_empty:
                for database in sorted(stream.databases):
                    await self._delete_surplus(database)
            await self.target_load()  # a node may have been started again
            stream.is_whole = stream.is_whole and not stream.changed.was_flushed and not stream.copier.has_new_owners
        await self._copy_functions()

    async def copy_present(self, report: Callable[[int], None]) -> None:
        """Copy every key and every function library, and delete none. Keys do not change meanwhile."""
        stream = self.stream
        while not stream.is_whole:
            await self._copy_each(report)
            await self.target_load()
            stream.is_whole = not stream.copier.has_new_owners
        if await self._patiently(stream.copier.libraries):
            await self._patiently(partial(stream.copier.copy_functions, deleted=()))
        await self.note_evictions()

    async def _copy_each(self, report: Callable[[int], None]) -> None:
        stream = self.stream
        evicted = (await self.target_load()).evicted
        stream.evicted = evicted if stream.evicted is None else stream.evicted
        stream.copier.has_new_owners = False
        stream.is_whole = True
        copied = 0
        for database in sorted(stream.databases):
            async for keys in self._scan(database):
                await self.copy(keys)
                copied += len(keys)
                report(copied)

    async def copy_changed(self) -> bool:
        """Copy the keys that have changed by now. Return whether there were any. Afterwards every change up to the
        stream's `copied_offset` is copied. False without that if all keys must be copied again."""
        stream = self.stream
        state = await self._state()
        await self._of_gateway(stream.changed.catch_up)
        stream.see(await self._state())  # after the changes: a database may have got its first key
        if not stream.is_whole:
            return False
        waiting = left = len(stream.changed)
        while left > 0 and (keys := stream.changed.take(min(left, KEYS_AT_ONCE))):
            await self.copy(keys)
            left -= len(keys)
        if stream.copier.has_new_owners:
            stream.is_whole = False
            return True
        stream.copied_offset = state.offset
        return waiting > 0

    async def copy_unreported(self) -> None:
        """Copy what may have changed without a message: consumer groups of streams, and functions."""
        copier = self.stream.copier
        for database in sorted(self.stream.databases):
            cursor = FIRST
            while True:
                cursor, keys = await self._of_gateway(partial(copier.scan, database, cursor, "TYPE", "stream"))
                if keys:
                    await self.copy(keys)
                if cursor == FIRST:
                    break
        await self._copy_functions()

    async def note_evictions(self) -> None:
        """Add a warning to the log of the migration if the instance has evicted keys since the copy began."""
        evicted = (await self.target_load()).evicted - (self.stream.evicted or 0)
        if evicted > 0:
            await self._run.note("warning", f"the instance has evicted {evicted} keys during the migration")

    async def _copy_functions(self) -> None:
        """Load the function libraries of the source, and delete those that were copied and that it does not have any
        more. All primaries of a source have the same ones."""
        if self._shard.number:
            return
        copier, run = self.stream.copier, self._run
        try:
            libraries = await self._patiently(copier.libraries)
        except JobFailed as failure:
            if not self._is_direct:
                raise
            await run.note("warning", f"functions are not copied: {failure.message}")
            return
        former = run.copied_libraries
        if not libraries and not former:
            return
        if not libraries <= former:
            await run.keep_libraries(former | libraries)
        await self._patiently(partial(copier.copy_functions, deleted=sorted(former - libraries)))

    async def _state(self) -> GatewayState:
        state = await gateways.state(self.stream.gateway)
        if state is None:
            raise StreamInterrupted("the gateway does not answer")
        self.require_databases(state.keys)
        await self._run.require_memory(state, self._shard)
        return state

    async def copy(self, keys: Sequence[bytes]) -> None:
        """Copy keys by their present state. Waits while the task is paused, for nodes of the instance, and for the
        bandwidth limit."""
        owned = [key for key in keys if self._shard.owns(key)]
        await self._caller.wait_until_allowed()
        try:
            await self._patiently(partial(self.stream.copier.copy, owned, self.stream.databases))
        except BaseException:
            self.stream.changed.add(keys)  # the stream stays open
            raise
        if self._throttle is not None:
            load = await self.target_load()
            if pause := self._throttle.pause(time.monotonic(), load.received):
                await self._pause(pause)

    async def _pause(self, seconds: float) -> None:
        self._caller.begin_wait(f"waiting for {_LIMIT}", cause=_LIMIT)
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._caller.raise_if_cancelled()
            await asyncio.sleep(min(left, _PAUSE_PART))
        self._caller.end_wait()

    async def target_load(self) -> TargetLoad:
        """Return what the nodes of the instance measure."""
        return await self._patiently(self.stream.copier.target_load)

    def require_databases(self, keys: Mapping[int, int]) -> None:
        """Raise JobFailed DCS.9020 if the source uses databases that the instance does not have."""
        databases = self._run.assignment.databases
        if unknown := [number for number in keys if number >= databases]:
            message = f"the source has keys in database {unknown[0]}, the instance has {databases} databases"
            raise JobFailed(errors.SOURCE_UNUSABLE, message, final=True)

    async def _delete_surplus(self, database: int) -> None:
        """Delete keys of the instance that the gateway does not have."""
        copier = self.stream.copier
        for node in await self._patiently(copier.owners):
            cursor = FIRST
            while True:
                part = partial(copier.surplus, node, database, cursor, self._shard.owns)
                cursor, keys = await self._patiently(part)
                if keys:
                    await self.copy(keys)
                if cursor == FIRST:
                    break

    async def _scan(self, database: int) -> AsyncIterator[list[bytes]]:
        cursor = FIRST
        while True:
            cursor, keys = await self._of_gateway(partial(self.stream.copier.scan, database, cursor))
            yield keys
            while len(self.stream.changed) > _MOST_CHANGED:
                self.stream.databases |= (await self._state()).keys.keys()
                await self.copy(self.stream.changed.take(KEYS_AT_ONCE))
            if self.stream.changed.is_lost:
                raise StreamInterrupted("the connection to the gateway has ended")
            if cursor == FIRST:
                return

    async def _patiently(self, act: Callable[[], Awaitable[Result]]) -> Result:
        """Repeat `act` until the nodes of the instance are ready."""
        has_waited = False
        while True:
            try:
                result = await self._of_gateway(act)
            except TargetNotReady as reason:
                has_waited = True
                self._caller.begin_wait(f"waiting for the instance: {readable(str(reason))}", cause="the instance")
                self._caller.raise_if_cancelled()
                await asyncio.sleep(_AGAIN_SECONDS)
            except KeysRefused as refusal:
                code = errors.MIGRATION_OUT_OF_MEMORY if refusal.no_memory else errors.SOURCE_UNUSABLE
                raise JobFailed(code, f"a key is refused: {refusal.message}", final=True) from refusal
            else:
                if has_waited:
                    self._caller.end_wait()
                return result

    async def _of_gateway(self, act: Callable[[], Awaitable[Result]]) -> Result:
        """Return the result of `act`. If the gateway has lost its source, wait for the link and repeat it."""
        while True:
            try:
                return await act()
            except NodeBusy as error:
                if not self._follows:
                    raise StreamInterrupted(str(error)) from error
                await self._link_again()
            except (*NODE_GONE, NodeRefused) as error:
                if self._is_direct and isinstance(error, NodeRefused):
                    words = without_secret(str(error), self._run.assignment.source.password)
                    raise JobFailed(errors.SOURCE_UNUSABLE, f"the source refuses: {words}", final=True) from error
                raise StreamInterrupted(str(error)) from error

    async def _link_again(self) -> None:
        await asyncio.sleep(_AGAIN_SECONDS)
        try:
            await self._run.linked(self._shard)
        except (*NODE_GONE, NodeRefused) as error:
            raise StreamInterrupted(str(error)) from error
