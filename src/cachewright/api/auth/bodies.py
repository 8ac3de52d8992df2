"""Request bodies: read in parts, within a limit for each and within one limit for all that the server holds.

A body that is refused is read to its end and thrown away, or the client would see a broken connection and not the
answer.
"""

import asyncio
import ctypes
import hashlib
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from litestar.types import HTTPScope, Receive

from cachewright import errors
from cachewright.api.auth.authorization import source
from cachewright.api.auth.credentials import Sender
from cachewright.api.responses import RETRY_SECONDS
from cachewright.errors import ApiError
from cachewright.hosts.addresses import network

BODY_LIMIT = 12 * 1024 * 1024
UNIDENTIFIED_BODY_LIMIT = 16 * 1024
_DISCARD_LIMIT = 4 * BODY_LIMIT
_BODY_SECONDS = 60
_SHARE_OF_ONE_HOLDER = 4
_WORTH_RETURNING = 4 * 1024 * 1024
_RETURN_SECONDS = 1.0
"""After the end of a request, when nothing refers to its body any more."""
_VERSIONS_WITH_ANNOUNCED_BODIES = {"1", "1.0", "1.1"}
_ANNOUNCING = {b"content-length", b"transfer-encoding"}


class BodyMemory:
    """Bytes of the bodies of all requests, from their arrival to the end of their requests."""

    def __init__(self, limit: int) -> None:
        """`limit` is in bytes. One holder, a user or an address, gets a quarter of it."""
        self._limit = limit
        self._limit_of_one = limit // _SHARE_OF_ONE_HOLDER
        self._held = 0
        self._held_by: Counter[str] = Counter()
        self._most_held = 0
        self._planned_return: asyncio.TimerHandle | None = None

    def take(self, holder: str, size: int) -> bool:
        """False where there is no room."""
        if self._held + size > self._limit or self._held_by[holder] + size > self._limit_of_one:
            return False
        self._held += size
        self._held_by[holder] += size
        self._most_held = max(self._most_held, self._held)
        return True

    def give_back(self, holder: str, size: int) -> None:
        self._held -= size
        self._held_by[holder] -= size
        if not self._held_by[holder]:
            del self._held_by[holder]
        if self._most_held - self._held > _WORTH_RETURNING:
            if self._planned_return:
                self._planned_return.cancel()  # the body of this request may still be referred to when it runs
            self._planned_return = asyncio.get_running_loop().call_later(_RETURN_SECONDS, self._return_to_system)

    def _return_to_system(self) -> None:
        """Without this, the C library keeps freed memory between blocks that are in use."""
        self._planned_return = None
        self._most_held = self._held
        with suppress(OSError, AttributeError):  # it is the GNU library's own function
            ctypes.CDLL(None).malloc_trim(0)


class BodyReader:
    """Reads the body of one request. Before the sender is known, it keeps 16 KB."""

    def __init__(
        self,
        scope: HTTPScope,
        receive: Receive,
        memory: BodyMemory,
        recognise: Callable[[], Awaitable[Sender]] | None,
    ) -> None:
        """`recognise` tells the sender by the head of the request; None where requests carry no credentials."""
        self._scope = scope
        self._receive = receive
        self._memory = memory
        self._recognise = recognise
        self._limit = BODY_LIMIT if recognise else UNIDENTIFIED_BODY_LIMIT
        self._holder = f"address {network(source(scope))}"
        self._held: Counter[str] = Counter()
        self._parts: list[bytes] = []
        self._arrived = 0
        self._asked = False
        self._refusal: ApiError | None = None
        self._unchecked: Any = None

    async def read(self) -> bytes:
        """The body. Its memory is the sender's until `release`.

        ApiError DCS.1001 to DCS.1004 where a large body has no known sender, DCS.4005 where it ends early, DCS.4960
        where it is too large, DCS.4968 where it is too slow, DCS.4977 where the server holds too many.
        """
        try:
            async with asyncio.timeout(_BODY_SECONDS):
                await self._read()
        except TimeoutError as late:
            raise ApiError(errors.BODY_TIMEOUT) from late
        if self._refusal:
            raise self._refusal
        body = b"".join(self._parts)
        self._parts.clear()
        return body

    def release(self) -> None:
        """Give the memory back. The body must no longer be used."""
        for holder, size in self._held.items():
            self._memory.give_back(holder, size)
        self._held.clear()

    async def _read(self) -> None:
        if _announced_length(self._scope) > UNIDENTIFIED_BODY_LIMIT:
            await self._ask_for_sender()
        more = True
        while more and self._arrived <= _DISCARD_LIMIT:
            message = await self._receive()
            if message["type"] != "http.request":
                raise ApiError(errors.INVALID_JSON, reason="it ends early")
            part, more = message["body"], message["more_body"]
            self._arrived += len(part)
            if self._arrived > UNIDENTIFIED_BODY_LIMIT and not self._asked:
                await self._ask_for_sender()
            self._add(part)

    async def _ask_for_sender(self) -> None:
        self._asked = True
        if self._recognise is None:
            return
        try:
            sender = await self._recognise()
        except ApiError as refusal:
            self._refuse(refusal)
            return
        if not sender.known:
            # It is refused no sooner than a body whose signature turns out to be wrong, which is hashed as well.
            self._unchecked = hashlib.sha256()
            self._refuse(ApiError(errors.INVALID_CREDENTIALS))
        elif sender.user_id is not None:
            self._holder = f"user {sender.user_id}"

    def _add(self, part: bytes) -> None:
        if self._arrived > self._limit:
            self._refuse(ApiError(errors.BODY_TOO_LARGE))
        elif self._refusal:
            if self._unchecked:
                self._unchecked.update(part)
        elif self._memory.take(self._holder, len(part)):
            self._held[self._holder] += len(part)
            self._parts.append(part)
        else:
            self._refuse(ApiError(errors.BODY_MEMORY_EXHAUSTED, retry_after=RETRY_SECONDS))

    def _refuse(self, refusal: ApiError) -> None:
        self._refusal = refusal
        self._parts.clear()
        self.release()


def announces_body(scope: HTTPScope) -> bool:
    """There may be a body. Over HTTP/1 there is none that is not announced (RFC 9112, 6.3)."""
    return scope["http_version"] not in _VERSIONS_WITH_ANNOUNCED_BODIES or any(
        name in _ANNOUNCING for name, _ in scope["headers"]
    )


def require_bearable_length(scope: HTTPScope) -> None:
    """ApiError DCS.4960 where a body is announced that is too large even to be thrown away."""
    if _announced_length(scope) > _DISCARD_LIMIT:
        raise ApiError(errors.BODY_TOO_LARGE)


def _announced_length(scope: HTTPScope) -> int:
    """0 where no length is announced."""
    claimed = dict(scope["headers"]).get(b"content-length", b"")
    return int(claimed[:20]) if claimed.isdigit() else 0
