"""Check every request before it reaches a route: its id, size, sender, project and rate.

The middleware runs before the framework's router, so that callers without credentials cannot find out which paths
exist. It reads path and query as they were sent, because clients sign them in that form. Names of headers are in lower
case (ASGI).
"""

import asyncio
import logging
import random
import time
from collections.abc import Collection, Sequence
from functools import partial
from typing import Protocol, TypeAlias
from urllib.parse import unquote_to_bytes

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send
from litestar.types.asgi_types import (
    HTTPDisconnectEvent,
    HTTPReceiveMessage,
    HTTPRequestEvent,
    HTTPResponseBodyEvent,
    HTTPResponseStartEvent,
    WebSocketReceiveMessage,
)

from cachewright import errors
from cachewright.api.auth.authorization import IDENTITY, complete_entry, source
from cachewright.api.auth.bodies import (
    BodyMemory,
    BodyReader,
    announces_body,
    require_bearable_length,
)
from cachewright.api.auth.credentials import Authenticator, Sender
from cachewright.api.auth.limits import STREAM, RateLimit, StreamLimit, require_json, require_small_head
from cachewright.api.auth.proxies import TrustedProxies
from cachewright.api.connections import Connections, Requests
from cachewright.api.responses import OPERATION, REQUEST_ID, RETRY_SECONDS, error_body, error_headers
from cachewright.errors import ApiError, DatabaseUnavailable
from cachewright.logs import RARELY, about
from cachewright.services.audit_log import AuditLog
from cachewright.signature import SignedRequest

log = logging.getLogger(__name__)

_Received: TypeAlias = HTTPReceiveMessage | WebSocketReceiveMessage
_OF_NO_PROJECT = {"/v2/available-zones", "/v2/instances/maintain-windows"}
_VERSIONS = {"v2", "v2.1"}
"""First parts of paths whose second part is a project."""


class RequestMetrics(Protocol):
    """Counts responses."""

    def answered(self, operation: str, method: str, status: int, seconds: float) -> None:
        """Count a response. `operation` is empty if the request reached no supported operation."""


class RequestMiddleware:
    def __init__(
        self,
        app: ASGIApp,
        audit_log: AuditLog,
        authenticator: Authenticator,
        rate: RateLimit,
        *,
        proxies: TrustedProxies,
        metrics: RequestMetrics,
        open_to_all: Collection[tuple[str, str]],
        response_headers: Sequence[tuple[bytes, bytes]] = (),
        bodies: BodyMemory,
        streams: StreamLimit,
        connections: Connections,
    ) -> None:
        """:param open_to_all: methods and paths that need no authentication."""
        self._open = {(method, path.encode()) for method, path in open_to_all}
        self._app = app
        self._audit_log = audit_log
        self._authenticator = authenticator
        self._rate = rate
        self._proxies = proxies
        self._metrics = metrics
        self._response_headers = response_headers
        self._bodies = bodies
        self._streams = streams
        self._connections = connections

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        peer = scope["client"]  # peer of the connection, which may be a proxy
        self._proxies.resolve(scope)
        receive = _with_disconnect(receive)
        request_id = f"{random.getrandbits(128):032x}"  # sent to clients, not a secret
        state = scope["state"] = {**(scope.get("state") or {}), REQUEST_ID: request_id}
        begun = False
        arrived = time.perf_counter()
        connection = self._connections.begin(peer, arrived)

        async def tagged(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                message["headers"] = [
                    *message["headers"],
                    *self._response_headers,
                    (b"x-request-id", request_id.encode()),
                ]
                await complete_entry(self._audit_log, scope, message["status"])
                seconds = time.perf_counter() - arrived
                self._metrics.answered(_operation(scope), str(scope["method"]), message["status"], seconds)
            await send(message)

        with about(request_id=request_id):
            try:
                await self._handle(scope, receive, tagged, connection)
            except ApiError as refusal:
                await _answer(scope, tagged, refusal)
            except DatabaseUnavailable as error:
                log.warning("request %s: the database is unavailable: %s", request_id, error, extra=RARELY)
                if not begun:
                    await _answer(scope, tagged, ApiError(errors.DATABASE_UNAVAILABLE, retry_after=RETRY_SECONDS))
            except asyncio.CancelledError:
                if not self._connections.closing:
                    raise  # otherwise the server is stopping and has closed its connections
            except Exception:
                log.exception("request %s failed: %s %s", request_id, scope["method"], scope["path"])
                if not begun:
                    await _answer(scope, tagged, ApiError(errors.INTERNAL_ERROR))
            finally:
                if STREAM in state:
                    self._streams.close(state[STREAM])
                self._connections.end(connection, IDENTITY in state)

    async def _handle(self, scope: HTTPScope, receive: Receive, send: Send, connection: Requests) -> None:
        require_small_head(scope)
        raw_path = scope["raw_path"].partition(b"?")[0]
        is_open = (scope["method"], raw_path) in self._open
        path = None if is_open else _route_path(raw_path)
        body, replayed = b"", _replayed(None, receive)
        reader = None
        if announces_body(scope):
            require_bearable_length(scope)
            recognise = None if is_open else partial(self._recognise, scope, raw_path, path)
            reader = BodyReader(scope, receive, self._bodies, recognise)
        try:
            if reader:
                body = await reader.read()
                require_json(scope, body)
                replayed = _replayed(body, receive)
            if not is_open:
                request = _signed_request(scope, raw_path, body)
                identity = await self._authenticator.identify(request, _project(path), source(scope))
                self._rate.count(identity.user_id)
                if path is None:
                    raise ApiError(errors.URL_NOT_FOUND)
                scope["path"] = path
                scope["state"][IDENTITY] = identity
                connection.identified += 1
            if scope["method"] == "OPTIONS":
                scope["method"] = "TRACE"  # the framework would answer OPTIONS itself; the contract has neither
            await self._app(scope, replayed, send)
        finally:
            if reader:
                reader.release()

    async def _recognise(self, scope: HTTPScope, raw_path: bytes, path: str | None) -> Sender:
        return await self._authenticator.recognise(_signed_request(scope, raw_path, b""), _project(path))


def _signed_request(scope: HTTPScope, raw_path: bytes, body: bytes) -> SignedRequest:
    return SignedRequest(
        method=str(scope["method"]).encode("utf-8", "replace"),
        path=raw_path,
        query=scope["query_string"],
        headers=list(scope["headers"]),
        body=body,
    )


def _operation(scope: HTTPScope) -> str:
    """Return the name of the operation, empty for a request that reached no route."""
    route = scope.get("route_handler")
    return str(scope["state"].get(OPERATION) or (route.handler_name if route else ""))


def _route_path(raw: bytes) -> str | None:
    """Return the path for the router, whose segments are decoded separately. Return None if no route can have it. `raw`
    has no query; a `?` in it is an ordinary character.

    The framework treats repeated slashes as one, so paths with them must not reach it.
    """
    first, *segments = raw.removesuffix(b"/").split(b"/")
    if first or not all(segments):
        return None
    try:
        if b"%" not in raw:
            return "/" + b"/".join(segments).decode("utf-8")
        decoded = [unquote_to_bytes(segment).decode("utf-8").replace("/", "%2F") for segment in segments]
    except UnicodeDecodeError:
        return None
    return "/" + "/".join(decoded)


def _project(path: str | None) -> str | None:
    """Return the project in a path, or None if the path has no project."""
    if path is None or path in _OF_NO_PROJECT:
        return None
    parts = path.split("/")
    return parts[2] if len(parts) > 2 and parts[1] in _VERSIONS else None


def _replayed(body: bytes | None, receive: Receive) -> Receive:
    """Replay a body that has been read, then receive from the connection, where only a disconnect can follow.

    The framework cancels the wait for the disconnect when a stream ends. It would not recognise this cancellation,
    because granian raises another one; so it is converted to a disconnect.

    `body` is None if the request announced no body, so that nothing has been received."""
    read = False

    async def again() -> _Received:
        nonlocal read
        if read:
            try:
                return await receive()
            except asyncio.CancelledError:
                return HTTPDisconnectEvent(type="http.disconnect")
        read = True
        if body is None:
            return await receive()
        return HTTPRequestEvent(type="http.request", body=body, more_body=False)

    return again


def _with_disconnect(receive: Receive) -> Receive:
    """Report a disconnected client by a message. Granian only cancels the wait for messages."""

    async def receive_or_disconnect() -> _Received:
        try:
            return await receive()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            return HTTPDisconnectEvent(type="http.disconnect")

    return receive_or_disconnect


async def _answer(scope: HTTPScope, send: Send, refusal: ApiError) -> None:
    body = error_body(refusal, scope)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    headers += [(name.encode(), value.encode()) for name, value in error_headers(refusal).items()]
    await send(HTTPResponseStartEvent(type="http.response.start", status=refusal.row.status, headers=headers))
    await send(HTTPResponseBodyEvent(type="http.response.body", body=body, more_body=False))
