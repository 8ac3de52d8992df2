"""Limits on the size of requests, and on requests and event streams of each caller."""

import math
import time
from collections import Counter

from limits import RateLimitItem
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from litestar.types import HTTPScope

from cachewright import errors
from cachewright.api.responses import RETRY_SECONDS
from cachewright.errors import ApiError

_METHOD_LIMIT = 32
_TARGET_LIMIT = 8 * 1024
_HEADERS_LIMIT = 16 * 1024
_MOST_HEADERS = 64
_JSON = b"application/json"
STREAM = "stream"
"""Key of a request's state with the user of its event stream."""


class RateLimit:
    """Limit on the requests of each user in a sliding window."""

    def __init__(self, item: RateLimitItem) -> None:
        self._item = item
        self._seen = SlidingWindowCounterRateLimiter(MemoryStorage())

    def count(self, user_id: str) -> None:
        """Count a request. Raises ApiError DCS.4962 if the limit is exceeded."""
        if not self._seen.hit(self._item, user_id):
            free_at = self._seen.get_window_stats(self._item, user_id).reset_time
            raise ApiError(errors.TOO_MANY_REQUESTS, retry_after=max(1, math.ceil(free_at - time.time())))


class StreamLimit:
    """Limits on the open event streams of each user, and of all users."""

    def __init__(self, of_one_user: int, of_all: int) -> None:
        self._of_one_user = of_one_user
        self._of_all = of_all
        self._open: Counter[str] = Counter()

    def open(self, scope: HTTPScope, user_id: str) -> None:
        """Count the response to this request as a stream until the request ends. Raises ApiError DCS.4976 if a limit is
        exceeded."""
        if self._open[user_id] >= self._of_one_user or self._open.total() >= self._of_all:
            raise ApiError(errors.TOO_MANY_STREAMS, retry_after=RETRY_SECONDS)
        self._open[user_id] += 1
        scope["state"][STREAM] = user_id

    def close(self, user_id: str) -> None:
        self._open[user_id] -= 1
        if not self._open[user_id]:
            del self._open[user_id]


def require_small_head(scope: HTTPScope) -> None:
    """Limit method, URL and headers. Raises ApiError DCS.4062, DCS.4964 or DCS.4965."""
    if len(scope["method"]) > _METHOD_LIMIT:
        raise ApiError(
            errors.INVALID_PARAMETER, parameter="method", reason=f"it is longer than {_METHOD_LIMIT} characters"
        )
    if len(scope["raw_path"]) + len(scope["query_string"]) > _TARGET_LIMIT:
        raise ApiError(errors.URL_TOO_LONG)
    sizes = [len(name) + len(value) for name, value in scope["headers"]]
    if len(sizes) > _MOST_HEADERS or sum(sizes) > _HEADERS_LIMIT:
        raise ApiError(errors.HEADERS_TOO_LARGE)


def require_json(scope: HTTPScope, body: bytes) -> None:
    """Raise ApiError DCS.4963 if a body has another content type."""
    if not body or scope["method"] == "GET":
        return
    for name, value in scope["headers"]:
        if name == b"content-type" and value.partition(b";")[0].strip().lower() != _JSON:
            raise ApiError(errors.UNSUPPORTED_MEDIA_TYPE)
