"""The progress of a task, answered before the framework.

Clients that watch a task ask for nothing else, and routing, parameters and response of the framework are most of what
such a request costs. What is not simply to be told, a refusal or a stream, goes the framework's way, and without this
module all would.
"""

import re

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send
from litestar.types.asgi_types import HTTPResponseBodyEvent, HTTPResponseStartEvent

from cachewright.api import event_streams, requests
from cachewright.api.auth.authorization import IDENTITY
from cachewright.api.auth.permissions import OPTION, Action, may
from cachewright.api.responses import OPERATION
from cachewright.api.routes.tasks import Shown, show_background_task_progress, shown_progress
from cachewright.model.identity import Identity
from cachewright.store.read_cache import ReadCache

_ACTION: Action = show_background_task_progress.opt[OPTION]
_OPERATION = show_background_task_progress.handler_name
_PATH = re.compile(r"/v2/[^/]+/instances/([0-9a-f-]{36})/tasks/([0-9a-f]{32})/progress", re.ASCII)


class ProgressFastPath:
    """Stands between the gate, which has found out who asks, and `app`, the framework."""

    def __init__(self, app: ASGIApp, kept: ReadCache) -> None:
        self._app = app
        self._kept = kept

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP and (shown := await self._shown(scope)) is not None:
            scope["state"][OPERATION] = _OPERATION
            await _tell(shown, scope, send)
        else:
            await self._app(scope, receive, send)

    async def _shown(self, scope: HTTPScope) -> Shown | None:
        """None where this is not to be answered here."""
        named = _PATH.fullmatch(scope["path"]) if scope["method"] == "GET" else None
        if named is None:
            return None
        who: Identity = scope["state"][IDENTITY]
        if not may(who, _ACTION) or who.project_id is None or event_streams.wanted(requests.header(scope, b"accept")):
            return None
        instance_id, task_id = named.groups()
        shown = await self._kept.ask(shown_progress, who.project_id, instance_id, task_id)
        return shown if isinstance(shown, Shown) else None


async def _tell(shown: Shown, scope: HTTPScope, send: Send) -> None:
    """200 with the progress, or 304 (RFC 9110, 15.4.5) where the client has that."""
    headers = [(b"etag", shown.tag.encode())]
    status, body = 304, b""
    if requests.header(scope, b"if-none-match") != shown.tag:
        status, body = 200, shown.progress
        headers += [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send(HTTPResponseStartEvent(type="http.response.start", status=status, headers=headers))
    await send(HTTPResponseBodyEvent(type="http.response.body", body=body, more_body=False))
