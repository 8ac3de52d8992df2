"""What every request passes before it reaches a route: an id, a limit on its size, its signature, its project.

It stands before the framework's router, so that a stranger learns nothing of which paths exist, and it reads path and
query as they were sent, since that is what was signed.
"""

import asyncio
import logging
import uuid
from collections.abc import Callable
from datetime import UTC, datetime

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send
from litestar.types.asgi_types import (
    HTTPReceiveMessage,
    HTTPRequestEvent,
    HTTPResponseBodyEvent,
    HTTPResponseStartEvent,
    WebSocketReceiveMessage,
)

from cachewright.api.answers import REQUEST_ID, error_body
from cachewright.api.auth.signature import (
    BadSignature,
    OutsideWindow,
    SignedRequest,
    parse_authorization,
    verify,
)
from cachewright.errors import Refusal
from cachewright.store.records import AccessKey, Principal

log = logging.getLogger(__name__)

BODY_LIMIT = 12 * 1024 * 1024
PRINCIPAL = "principal"

_NOBODYS_SECRET = uuid.uuid4().hex
"""Checked against when the access key is unknown, so that an unknown key takes as long to refuse as a known one."""


class Gate:
    def __init__(self, app: ASGIApp, find_key: Callable[[str], AccessKey | None]) -> None:
        """`find_key` may block; it is called in a thread."""
        self._app = app
        self._find_key = find_key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        request_id = uuid.uuid4().hex
        scope.setdefault("state", {})[REQUEST_ID] = request_id

        async def tagged(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            await send(message)

        try:
            body = await _body(receive)
            key = await self._authenticated(scope, body)
            _require_project(scope["path"], key.project_id)
        except Refusal as refusal:
            await _answer(tagged, refusal, request_id)
            return
        scope["state"][PRINCIPAL] = Principal(project_id=key.project_id, user_id=key.user_id, user_name=key.user_name)
        await self._app(scope, _replayed(body, receive), tagged)

    async def _authenticated(self, scope: HTTPScope, body: bytes) -> AccessKey:
        headers = [(_text(name).lower(), _text(value)) for name, value in scope["headers"]]
        claims = [value for name, value in headers if name == "authorization"]
        if not claims:
            raise Refusal("DCS.1003")
        request = SignedRequest(
            method=str(scope["method"]),
            path=scope["raw_path"].partition(b"?")[0],
            query=scope["query_string"],
            headers=headers,
            body=body,
        )
        try:
            authorization = parse_authorization(claims[0])
            key = await asyncio.to_thread(self._find_key, authorization.access_key)
            known = key is not None and key.enabled
            verify(request, authorization, key.secret_key if key else _NOBODYS_SECRET, datetime.now(UTC))
        except BadSignature as bad:
            log.info("refused: %s", bad)
            raise Refusal("DCS.1001") from bad
        except OutsideWindow as late:
            raise Refusal("DCS.1002") from late
        if key is None or not known:
            raise Refusal("DCS.1001")
        return key


def _require_project(path: str, project_id: str) -> None:
    """Another project's id is refused whether or not there is such a project."""
    parts = path.split("/")
    if len(parts) > 2 and parts[1] == "v2" and parts[2] != project_id:
        raise Refusal("DCS.1004")


def _text(raw: bytes) -> str:
    """Clients send header values as UTF-8; bytes that are not survive the round trip to the hash."""
    return raw.decode("utf-8", "surrogateescape")


async def _body(receive: Receive) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return b"".join(parts)
        size += len(message["body"])
        if size > BODY_LIMIT:
            raise Refusal("DCS.4960")
        parts.append(message["body"])
        if not message["more_body"]:
            return b"".join(parts)


def _replayed(body: bytes, receive: Receive) -> Receive:
    read = False

    async def again() -> HTTPReceiveMessage | WebSocketReceiveMessage:
        nonlocal read
        if read:
            return await receive()
        read = True
        return HTTPRequestEvent(type="http.request", body=body, more_body=False)

    return again


async def _answer(send: Send, refusal: Refusal, request_id: str) -> None:
    body = error_body(refusal, request_id)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send(HTTPResponseStartEvent(type="http.response.start", status=refusal.row.status, headers=headers))
    await send(HTTPResponseBodyEvent(type="http.response.body", body=body, more_body=False))
