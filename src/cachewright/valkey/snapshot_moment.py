"""Snapshots of all shards of an instance at one moment.

Each node makes its snapshot at a moment of its own. While all primaries make clients wait with their writes
(`CLIENT PAUSE ... WRITE`), all these moments are the same one for the data. A replica must have applied everything that
its primary had written when the pause began. The pause ends when every snapshot has begun, which takes some hundredths
of a second; it also ends by itself, if this process cannot end it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import msgspec

from cachewright.clock import boot_time, now_ms
from cachewright.model.instances import Node
from cachewright.valkey.access import Access
from cachewright.valkey.client import NodeRefused
from cachewright.valkey.rdb_stream import Position, RdbStream
from cachewright.valkey.session import Session
from cachewright.valkey.single_request import fields
from cachewright.valkey.write_pauses import unpause

PAUSE_SECONDS = 2.0
_ANSWER_SECONDS = 1.0
_BEGIN_SECONDS = 1.0
"""Time in which every snapshot must begin while writes wait. A node with another child process begins later."""

_UNPAUSED_SECONDS = 30.0
"""The same while writes continue. A replica that has lost its primary never applies what is needed."""

_POLL_SECONDS = 0.002


Begin = Callable[[int], Awaitable[Position]]
"""Begins a snapshot when its node has applied the writes up to an offset. See `begin_after`."""


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """:ivar at: epoch milliseconds.
    :ivar positions: by shard.
    :ivar is_common: all shards have the same moment.
    :ivar paused_seconds: time for which writes waited.
    """

    at: int
    positions: Mapping[int, Position]
    is_common: bool
    paused_seconds: float


async def begin(primaries: Mapping[int, Node], begins: Mapping[int, Begin], access: Access, *, pause: bool) -> Moment:
    """Begin the snapshot of each shard, at one moment with `pause`. Raises one of NODE_GONE or NodeRefused, also
    if they do not all begin while writes wait. Then no snapshot may be used.

    :param primaries: by shard. :param begins: begin the snapshot of one node of each shard.
    """
    sessions: dict[int, Session] = {}
    try:
        for shard, primary in primaries.items():
            sessions[shard] = await Session.open(primary, access, _ANSWER_SECONDS)
        if pause:
            return await _begin_paused(sessions, begins)
        async with asyncio.timeout(_UNPAUSED_SECONDS):
            positions = await _begin_all(sessions, begins)
        return Moment(at=now_ms(), positions=positions, is_common=len(begins) == 1, paused_seconds=0.0)
    finally:
        for session in sessions.values():
            session.close()


async def _begin_paused(sessions: Mapping[int, Session], begins: Mapping[int, Begin]) -> Moment:
    begun_at = boot_time()
    try:
        async with asyncio.timeout(_BEGIN_SECONDS):
            milliseconds = round(PAUSE_SECONDS * 1000)
            await asyncio.gather(*(one.ask("CLIENT", "PAUSE", milliseconds, "WRITE") for one in sessions.values()))
            positions = await _begin_all(sessions, begins)
            at = now_ms()
            # A node that is no longer the primary has not held up the writes of its shard.
            await asyncio.gather(*(_primary_offset(session) for session in sessions.values()))
    finally:
        await asyncio.shield(asyncio.gather(*map(unpause, sessions.values())))
    paused = boot_time() - begun_at
    if paused >= PAUSE_SECONDS:
        raise TimeoutError("the pause of the writes has ended before every snapshot began")
    return Moment(at=at, positions=positions, is_common=True, paused_seconds=paused)


async def _begin_all(sessions: Mapping[int, Session], begins: Mapping[int, Begin]) -> dict[int, Position]:
    """Begin the snapshots with all that the primaries have written until now."""
    offsets = await asyncio.gather(*(_primary_offset(session) for session in sessions.values()))
    needed = dict(zip(sessions, offsets, strict=True))
    positions = await asyncio.gather(*(begin(needed[shard]) for shard, begin in begins.items()))
    return dict(zip(begins, positions, strict=True))


async def begin_after(stream: RdbStream, offset: int, access: Access) -> Position:
    """Begin the snapshot of a node when it has applied the writes up to `offset`."""
    session = await Session.open(stream.node, access, _ANSWER_SECONDS)
    try:
        while await _applied_offset(session) < offset:
            await asyncio.sleep(_POLL_SECONDS)
    finally:
        session.close()
    return await stream.begin()


async def _primary_offset(session: Session) -> int:
    """Return the bytes that a primary has written. Raises NodeRefused if the node is no primary."""
    said = fields(await session.ask("INFO", "replication"))
    if said.get("role") != "master":
        raise NodeRefused("the node is no primary any more")
    return int(said["master_repl_offset"])


async def _applied_offset(session: Session) -> int:
    """Return the bytes that a replica has applied, or a primary has written."""
    said = fields(await session.ask("INFO", "replication"))
    return int(said.get("slave_repl_offset", said.get("master_repl_offset", 0)))
