"""Metrics for Prometheus. They concern all projects, so they have a separate token, which only the owner of the data
directory can read."""

import asyncio
import hmac
from collections.abc import Callable

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler

from cachewright import errors
from cachewright.api.auth.permissions import OPEN
from cachewright.api.routes.parameters import Call
from cachewright.config import Settings
from cachewright.errors import ApiError

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SCHEME = "Bearer"


def metrics_page(settings: Settings, text: Callable[[], bytes]) -> HTTPRouteHandler:
    """Return the route `/metrics`. It reads the token for each request, so that the token can be changed at runtime."""

    def authorized_text(authorization: str) -> bytes:
        scheme, _, given = authorization.partition(" ")
        try:
            token = settings.metrics_token_file.read_text().strip()
        except FileNotFoundError:
            token = ""
        if not token or scheme != _SCHEME or not hmac.compare_digest(given.encode(), token.encode()):
            raise ApiError(errors.INVALID_CREDENTIALS)
        return text()

    @get("/metrics", opt=OPEN)
    async def show_metrics(request: Call) -> Response[bytes]:
        body = await asyncio.to_thread(authorized_text, request.headers.get("authorization", ""))
        return Response(body, headers={"content-type": CONTENT_TYPE})

    return show_metrics
