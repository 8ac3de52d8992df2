"""Responses with the progress of a task, bypassing the framework.

Polling clients send no other requests, and most of the cost of such a request is the framework's routing, parameters
and response. Path, action and name are those of the route. The route still serves event streams and other spellings of
ids, and would serve every request without this module.
"""

import re

from litestar.enums import ScopeType
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send
from litestar.types.asgi_types import HTTPResponseBodyEvent, HTTPResponseStartEvent

from cachewright.api import event_streams, requests
from cachewright.api.auth.authorization import IDENTITY
from cachewright.api.auth.permissions import OPTION, Action, require
from cachewright.api.progress import ProgressResponse, render, respond
from cachewright.api.responses import OPERATION
from cachewright.model.identity import Identity
from cachewright.services.task_records import TaskRecords

_SPELLINGS = {
    "project_id": r"[^/]+",
    "instance_id": r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    "task_id": r"[0-9a-f]{32}",
}


class ProgressFastPath:
    """ASGI layer between the middleware, which has identified the caller, and the framework, `app`."""

    def __init__(self, app: ASGIApp, records: TaskRecords, route: HTTPRouteHandler) -> None:
        """:param route: the route of ShowBackgroundTaskProgress."""
        self._app = app
        self._records = records
        self._action: Action = route.opt[OPTION]
        self._operation = route.handler_name
        (path,) = route.paths
        self._path = re.compile(re.sub(r"{(\w+):str}", lambda name: f"(?P<{name[1]}>{_SPELLINGS[name[1]]})", path))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP or scope["method"] != "GET":
            await self._app(scope, receive, send)
            return
        named = self._path.fullmatch(scope["path"])
        if named is None or event_streams.wanted(requests.header(scope, b"accept")):
            await self._app(scope, receive, send)
            return
        scope["state"][OPERATION] = self._operation
        await _send(await self._response(scope, named["instance_id"], named["task_id"]), send)

    async def _response(self, scope: HTTPScope, instance_id: str, task_id: str) -> ProgressResponse:
        """Return the response. Raises ApiError DCS.2007, DCS.3022 or DCS.4958."""
        identity: Identity = scope["state"][IDENTITY]
        require(identity, self._action)
        rendered = await self._records.cached(requests.project_id(identity), instance_id, task_id, render)
        return respond(rendered, requests.header(scope, b"if-none-match"))


async def _send(response: ProgressResponse, send: Send) -> None:
    headers = [(b"etag", response.etag.encode())]
    if response.body:
        headers += [(b"content-type", b"application/json"), (b"content-length", str(len(response.body)).encode())]
    await send(HTTPResponseStartEvent(type="http.response.start", status=response.status, headers=headers))
    await send(HTTPResponseBodyEvent(type="http.response.body", body=response.body, more_body=False))
