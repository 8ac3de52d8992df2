"""Read request bodies in parts, with a limit for each body and a limit for the memory of all bodies.

A refused body is read to its end and discarded. Otherwise the client would see a broken connection instead of the
response.
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
"""Time after the end of a request at which nothing refers to its body any more."""
_VERSIONS_WITH_ANNOUNCED_BODIES = {"1", "1.0", "1.1"}
_ANNOUNCING = {b"content-length", b"transfer-encoding"}


class BodyMemory:
    """Memory for the bodies of all requests, from their arrival to the end of their requests."""

    def __init__(self, limit: int) -> None:
        """:param limit: bytes for all holders. A holder is a user or an address, and gets at most a quarter."""
        self._limit = limit
        self._limit_of_one = limit // _SHARE_OF_ONE_HOLDER
        self._held = 0
        self._held_by: Counter[str] = Counter()
        self._most_held = 0
        self._planned_return: asyncio.TimerHandle | None = None

    def take(self, holder: str, size: int) -> bool:
        """Reserve memory. Return False if a limit would be exceeded."""
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
                self._planned_return.cancel()  # it would run while this body may still be referenced
            self._planned_return = asyncio.get_running_loop().call_later(_RETURN_SECONDS, self._return_to_system)

    def _return_to_system(self) -> None:
        """Return freed memory to the system. The C library would keep it if it is between used blocks."""
        self._planned_return = None
        self._most_held = self._held
        with suppress(OSError, AttributeError):  # only the GNU library has this function
            ctypes.CDLL(None).malloc_trim(0)


class BodyReader:
    """Reads the body of one request. It accepts at most 16 KB before the sender is known."""

    def __init__(
        self,
        scope: HTTPScope,
        receive: Receive,
        memory: BodyMemory,
        recognise: Callable[[], Awaitable[Sender]] | None,
    ) -> None:
        """:param recognise: finds the sender by the head of the request; None if requests have no credentials."""
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
        """Return the body. Its memory counts as the sender's until `release`.

        Raises ApiError DCS.1001 to DCS.1004 if a large body has no known sender, DCS.4005 if it ends early, DCS.4960 if
        it is too large, DCS.4968 if it is too slow, DCS.4977 if the memory for bodies is exhausted.
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
        """Release the memory. The body must not be used any more."""
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
            # Hash the body as for a known sender, so that refusing it takes as long as refusing a wrong signature.
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
    """Whether there may be a body. HTTP/1 requests announce their bodies (RFC 9112, 6.3)."""
    return scope["http_version"] not in _VERSIONS_WITH_ANNOUNCED_BODIES or any(
        name in _ANNOUNCING for name, _ in scope["headers"]
    )


def require_bearable_length(scope: HTTPScope) -> None:
    """Raise ApiError DCS.4960 if the announced body is too large even for discarding it."""
    if _announced_length(scope) > _DISCARD_LIMIT:
        raise ApiError(errors.BODY_TOO_LARGE)


def _announced_length(scope: HTTPScope) -> int:
    """Return the announced length, 0 without one."""
    claimed = dict(scope["headers"]).get(b"content-length", b"")
    return int(claimed[:20]) if claimed.isdigit() else 0
