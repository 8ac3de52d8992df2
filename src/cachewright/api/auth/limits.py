"""How much a request may be, and how many there may be of one caller."""

import asyncio
import math
import time

from limits import RateLimitItem
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from litestar.types import HTTPScope, Receive

from cachewright.errors import Refusal

BODY_LIMIT = 12 * 1024 * 1024
STRANGERS_BODY_LIMIT = 16 * 1024
_DRAIN_LIMIT = 4 * BODY_LIMIT
_BODY_SECONDS = 60
_TARGET_LIMIT = 8 * 1024
_HEADERS_LIMIT = 16 * 1024
_MOST_HEADERS = 64
_JSON = b"application/json"
_ONES = {"1.0", "1.1"}
_ANNOUNCING = {b"content-length", b"transfer-encoding"}


class RateLimit:
    """So many requests of one user in a sliding window."""

    def __init__(self, item: RateLimitItem) -> None:
        self._item = item
        self._seen = SlidingWindowCounterRateLimiter(MemoryStorage())

    def count(self, user_id: str) -> None:
        """Refusal DCS.4962 where it was one too many."""
        if not self._seen.hit(self._item, user_id):
            free_at = self._seen.get_window_stats(self._item, user_id).reset_time
            raise Refusal("DCS.4962", retry_after=max(1, math.ceil(free_at - time.time())))


def require_small_head(scope: HTTPScope) -> None:
    """Refusal DCS.4964 or DCS.4965."""
    if len(scope["raw_path"]) + len(scope["query_string"]) > _TARGET_LIMIT:
        raise Refusal("DCS.4965")
    sizes = [len(name) + len(value) for name, value in scope["headers"]]
    if len(sizes) > _MOST_HEADERS or sum(sizes) > _HEADERS_LIMIT:
        raise Refusal("DCS.4964")


def require_json(scope: HTTPScope, body: bytes) -> None:
    """Refusal DCS.4963 where a body says that it is something else."""
    if not body or scope["method"] == "GET":
        return
    for name, value in scope["headers"]:
        if name == b"content-type" and value.partition(b";")[0].strip().lower() != _JSON:
            raise Refusal("DCS.4963")


def announces_body(scope: HTTPScope) -> bool:
    """There may be a body. Over HTTP/1 there is none that is not announced (RFC 9112, 6.3)."""
    return scope["http_version"] not in _ONES or any(name in _ANNOUNCING for name, _ in scope["headers"])


async def read_body(scope: HTTPScope, receive: Receive, limit: int) -> bytes:
    """Refusal DCS.4960 where it is larger than `limit`, DCS.4968 where it is too slow. What is too large is read to its
    end, or the client would see a broken connection and not the answer."""
    about = dict(scope["headers"])
    claimed = about.get(b"content-length", b"0")
    if claimed.isdigit() and int(claimed[:20]) > _DRAIN_LIMIT:
        raise Refusal("DCS.4960")
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            return await _read(receive, limit)
    except TimeoutError as late:
        raise Refusal("DCS.4968") from late


async def _read(receive: Receive, limit: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    more = True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            break
        part, more = message["body"], message["more_body"]
        size += len(part)
        if size <= limit:
            parts.append(part)
        elif size > _DRAIN_LIMIT:
            break
    if size > limit:
        raise Refusal("DCS.4960")
    return b"".join(parts)
