"""The keys that have changed on a gateway since it is watched.

The gateway sends them itself (CLIENT TRACKING with BCAST), each once for all changes since the last message. It does so
for every command of the source, also for those that the control plane does not know, for keys that expire and for
scripts. The names of databases are not part of the messages.

Source: https://valkey.io/topics/client-side-caching and tracking.c of Valkey 9.1.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from cachewright.valkey.access import socket_address
from cachewright.valkey.session import Session
from cachewright.valkey.sources.gateway import Gateway

_ANSWER_SECONDS = 10.0
_INVALIDATE = b"invalidate"
_ENTRY_BYTES = 200
"""Memory of a name besides its bytes."""

MOST_BYTES = 128 * 1024 * 1024
"""Limit of the names that wait to be copied. Beyond it, all keys are copied again, which needs no names."""


class ChangedKeys:
    """Names of changed keys that are not copied yet, in the order of their first change.

    :ivar is_lost: the connection has ended, so that changes may be missing.
    :ivar was_flushed: all keys were deleted or replaced since `forget_flush`, or too many have changed.
    """

    def __init__(self) -> None:
        self._keys: OrderedDict[bytes, None] = OrderedDict()
        self._bytes = 0
        self._session: Session | None = None
        self.is_lost = False
        self.was_flushed = False

    @classmethod
    async def watch(cls, gateway: Gateway) -> "ChangedKeys":
        """Begin to watch. Raises one of NODE_GONE or NodeRefused."""
        changed = cls()
        with socket_address(gateway.folder, gateway.secret) as place:
            session = await Session.at(
                place, gateway.name, _ANSWER_SECONDS, changed._lose, encoding=None, pushed=changed._receive
            )
        changed._session = session
        await session.ask("HELLO", "3")
        await session.ask("CLIENT", "TRACKING", "ON", "BCAST")
        return changed

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, keys: Sequence[bytes]) -> None:
        """Add keys to copy, as if they had changed."""
        for key in keys:
            if key not in self._keys:
                self._keys[key] = None
                self._bytes += len(key) + _ENTRY_BYTES
        if self._bytes > MOST_BYTES:
            self._forget_keys()

    def take(self, most: int) -> list[bytes]:
        """Remove and return the first keys."""
        taken = [self._keys.popitem(last=False)[0] for _ in range(min(most, len(self._keys)))]
        self._bytes -= sum(len(key) + _ENTRY_BYTES for key in taken)
        return taken

    async def catch_up(self) -> None:
        """Return when all changes are here that the gateway has made before the call. Raises one of NODE_GONE.

        A gateway sends messages after the commands of a round, and the reply of a command before them. The reply to a
        second command, which is sent later, comes after them."""
        if self._session is None:
            return
        for _ in range(2):
            await self._session.ask("CLIENT", "ID")  # is answered also without a link to the source

    def forget_flush(self) -> None:
        self.was_flushed = False

    def close(self) -> None:
        if self._session is not None:
            self._session.close()
        self.is_lost = True

    def _lose(self) -> None:
        self.is_lost = True

    def _receive(self, message: list[Any]) -> None:
        if not message or message[0] != _INVALIDATE:
            return
        if message[1] is None:
            self._forget_keys()
            return
        self.add(message[1])

    def _forget_keys(self) -> None:
        self.was_flushed = True
        self._keys.clear()
        self._bytes = 0
