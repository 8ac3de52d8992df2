"""What every request passes before it reaches a route: an id, a limit on its size, its signature, its project.

It stands before the framework's router, so that a stranger learns nothing of which paths exist, and it reads path and
query as they were sent, since that is what was signed.
"""

import asyncio
import logging
import secrets
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from urllib.parse import unquote_to_bytes

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
_DRAIN_LIMIT = 4 * BODY_LIMIT
PRINCIPAL = "principal"

_OF_NO_PROJECT = {"/v2/available-zones", "/v2/instances/maintain-windows"}

_OPEN = {b"/openapi.json", b"/docs"}
"""What anybody may read: it is the same for everybody and says nothing that the documents do not."""

_NOBODYS_SECRET = secrets.token_urlsafe(30)
"""Checked against when the access key is unknown, so that an unknown key takes as long to refuse as a known one."""


def utc_now() -> datetime:
    return datetime.now(UTC)


class Gate:
    def __init__(
        self, app: ASGIApp, find_key: Callable[[str], AccessKey | None], now: Callable[[], datetime] = utc_now
    ) -> None:
        """`find_key` may block; it is called in a thread."""
        self._app = app
        self._find_key = find_key
        self._now = now

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        request_id = uuid.uuid4().hex
        scope["state"] = {**(scope.get("state") or {}), REQUEST_ID: request_id}
        begun = False

        async def tagged(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            await send(message)

        try:
            await self._pass(scope, receive, tagged)
        except Refusal as refusal:
            await _answer(tagged, refusal, request_id)
        except Exception:
            log.exception("request %s failed: %s %s", request_id, scope["method"], scope["path"])
            if not begun:
                await _answer(tagged, Refusal("DCS.5000"), request_id)

    async def _pass(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        body = await _body(scope, receive)
        if scope["method"] == "GET" and scope["raw_path"].partition(b"?")[0] in _OPEN:
            await self._app(scope, _replayed(body, receive), send)
            return
        key = await self._authenticated(scope, body)
        path = _route_path(scope["raw_path"])
        _require_project(path, key.project_id)
        scope["path"] = path
        if scope["method"] == "OPTIONS":
            scope["method"] = "TRACE"  # the framework would answer OPTIONS by itself; the contract has neither
        scope["state"][PRINCIPAL] = Principal(project_id=key.project_id, user_id=key.user_id, user_name=key.user_name)
        await self._app(scope, _replayed(body, receive), send)

    async def _authenticated(self, scope: HTTPScope, body: bytes) -> AccessKey:
        headers = [(name.lower(), value) for name, value in scope["headers"]]
        claims = [value for name, value in headers if name == b"authorization"]
        if not claims:
            token = any(name == b"x-auth-token" for name, _ in headers)
            raise Refusal("DCS.1001" if token else "DCS.1003")
        request = SignedRequest(
            method=str(scope["method"]).encode("utf-8", "replace"),
            path=scope["raw_path"].partition(b"?")[0],
            query=scope["query_string"],
            headers=headers,
            body=body,
        )
        try:
            if len(claims) > 1:
                raise BadSignature("there are several Authorization headers")
            authorization = parse_authorization(claims[0])
            key = await asyncio.to_thread(self._find_key, authorization.access_key)
            verify(request, authorization, key.secret_key if key else _NOBODYS_SECRET, self._now())
            if key is None or not key.enabled:
                raise BadSignature("the access key is disabled")
        except BadSignature as bad:
            log.info("request %s refused: %s", scope["state"][REQUEST_ID], bad)
            raise Refusal("DCS.1001") from bad
        except OutsideWindow as late:
            raise Refusal("DCS.1002") from late
        return key


def _route_path(raw: bytes) -> str:
    """The path to route by, decoded within its segments only. Refusal DCS.4001 where it can be no route's.

    The framework takes repeated slashes for one, so a path that has them must not reach it.
    """
    first, *segments = raw.partition(b"?")[0].removesuffix(b"/").split(b"/")
    if first or not all(segments):
        raise Refusal("DCS.4001")
    try:
        decoded = [unquote_to_bytes(segment).decode("utf-8").replace("/", "%2F") for segment in segments]
    except UnicodeDecodeError as error:
        raise Refusal("DCS.4001") from error
    return "/" + "/".join(decoded)


def _require_project(path: str, project_id: str) -> None:
    """Another project's id is refused whether or not there is such a project."""
    if path in _OF_NO_PROJECT:
        return
    parts = path.split("/")
    if len(parts) > 2 and parts[1] == "v2" and parts[2] != project_id:
        raise Refusal("DCS.1004")


async def _body(scope: HTTPScope, receive: Receive) -> bytes:
    """What is too large is read to its end, or the client would see a broken connection and not the answer."""
    claimed = next((value for name, value in scope["headers"] if name.lower() == b"content-length"), b"0")
    if claimed.isdigit() and int(claimed[:20]) > _DRAIN_LIMIT:
        raise Refusal("DCS.4960")
    parts: list[bytes] = []
    size = 0
    more = True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            break
        part, more = message["body"], message["more_body"]
        size += len(part)
        if size <= BODY_LIMIT:
            parts.append(part)
        elif size > _DRAIN_LIMIT:
            break
    if size > BODY_LIMIT:
        raise Refusal("DCS.4960")
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
