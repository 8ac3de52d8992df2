"""Progress of the full synchronization of a replica, from counters of both nodes. Pure, except for `read`.

The primary sends a snapshot without a known size. The replica stores it, loads it, and then rewrites its append-only
file: only after that would it restart with all its data. The received part is known from the keys that the primary's
child process has written; it counts them about once a second, and the received bytes tell what happened since.

Source: INFO replication and persistence of Valkey 9.1.
"""

from collections.abc import Mapping

import msgspec

from cachewright.model.instances import Node
from cachewright.valkey.access import Access
from cachewright.valkey.client import ANSWER_SECONDS
from cachewright.valkey.single_request import info

_SECTIONS = ("replication", "persistence")

RECEIVED, LOADED, SAVED = 0.25, 0.5, 0.25
"""Shares of the duration. Measured with values of 200 bytes."""


class SyncState(msgspec.Struct, frozen=True, kw_only=True):
    """Counters of a replica and its primary at one moment.

    :ivar primary_port: port of the node that the replica follows; None if it is a primary.
    :ivar is_linked: whether the replica is connected to its primary and has its snapshot.
    :ivar received: bytes of the snapshot.
    :ivar loaded: bytes, :ivar to_load: of the whole.
    :ivar saved: keys that the replica has written to its append-only file, :ivar to_save: all of them.
    :ivar is_saving: whether the append-only file is being rewritten or will be.
    :ivar offset: position of the replica in the stream of writes, :ivar primary_offset: of the primary.
    :ivar sent: keys that the primary's child process has written, :ivar to_send: all of them.
    :ivar is_rewriting: the primary rewrites its append-only file, and can make no snapshot.
    """

    primary_port: int | None
    is_linked: bool
    received: int
    loaded: int
    to_load: int
    saved: int
    to_save: int
    is_saving: bool
    offset: int
    primary_offset: int
    sent: int
    to_send: int
    is_rewriting: bool


async def read(replica: Node, primary: Node, access: Access) -> SyncState:
    """Ask both nodes. Raises one of NODE_GONE or NodeRefused."""
    return parse(
        await info(replica, access, _SECTIONS, ANSWER_SECONDS), await info(primary, access, _SECTIONS, ANSWER_SECONDS)
    )


def parse(replica: Mapping[str, str], primary: Mapping[str, str]) -> SyncState:
    is_replica = replica.get("role") == "slave"
    is_rewriting = _number(replica, "aof_rewrite_in_progress") > 0
    return SyncState(
        primary_port=_number(replica, "master_port") if is_replica else None,
        is_linked=replica.get("master_link_status") == "up",
        received=_number(replica, "master_sync_read_bytes"),
        loaded=_number(replica, "loading_loaded_bytes"),
        to_load=_number(replica, "loading_total_bytes"),
        saved=_number(replica, "current_save_keys_processed") if is_rewriting else 0,
        to_save=_number(replica, "current_save_keys_total") if is_rewriting else 0,
        is_saving=is_rewriting or _number(replica, "aof_rewrite_scheduled") > 0,
        offset=_number(replica, "slave_repl_offset"),
        primary_offset=_number(primary, "master_repl_offset"),
        sent=_number(primary, "current_save_keys_processed"),
        to_send=_number(primary, "current_save_keys_total"),
        is_rewriting=_number(primary, "aof_rewrite_in_progress") > 0,
    )


class SyncProgress:
    """Progress of one synchronization, from successive states."""

    def __init__(self, size: int) -> None:
        """:param size: bytes of the data set in memory. A snapshot takes less."""
        self._size = max(size, 1)
        self._sent, self._received = 0.0, 0
        self._needed_offset: int | None = None
        self.share = 0.0

    def see(self, state: SyncState) -> None:
        """Take a further state into account."""
        if state.is_linked and self._needed_offset is None:
            self._needed_offset = state.primary_offset
        self.share = max(self.share, self._share(state))

    def is_complete(self, state: SyncState) -> bool:
        """Whether the replica has everything that was written before the link was there, also in its file."""
        caught_up = self._needed_offset is not None and state.offset >= self._needed_offset
        return state.is_linked and caught_up and not state.is_saving

    def _share(self, state: SyncState) -> float:
        if state.is_linked:
            return RECEIVED + LOADED + SAVED * _part(state.saved, state.to_save)
        if state.to_load:
            return RECEIVED + LOADED * _part(state.loaded, state.to_load)
        return RECEIVED * self._received_part(state)

    def _received_part(self, state: SyncState) -> float:
        if state.received and (sent := _part(state.sent, state.to_send)) > self._sent:
            self._sent, self._received = sent, state.received
        if self._received:
            return min(self._sent * state.received / self._received, 1.0)
        return min(state.received / self._size, 1.0)


def _part(done: int, total: int) -> float:
    return min(done / total, 1.0) if total else 0.0


def _number(fields: Mapping[str, str], name: str) -> int:
    return int(fields.get(name, "0"))
