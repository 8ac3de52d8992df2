"""The HTTP server: granian with limits on the resources that clients can occupy."""

import asyncio
import logging
import resource
from collections.abc import Callable

from granian.constants import Interfaces, SSLProtocols
from granian.http import HTTP1Settings, HTTP2Settings
from granian.log import LogLevels
from granian.server.embed import Server
from litestar.types import ASGIApp

from cachewright.api.connections import Connections
from cachewright.api.sockets import ConnectionWatch
from cachewright.config import Listen, Settings

log = logging.getLogger(__name__)

_GRACE_SECONDS = 5
_BETWEEN_CLOSINGS = 0.1
_CLOSING_SECONDS = 2
_CONNECTIONS = 10_000
_WAITING_CONNECTIONS = 1024
_FILES = 65_536
_BUFFER_BYTES = 64 * 1024
_HTTP2 = HTTP2Settings(
    initial_connection_window_size=4 * _BUFFER_BYTES,
    initial_stream_window_size=_BUFFER_BYTES,
    keep_alive_interval=30_000,
    max_concurrent_streams=100,
    max_headers_size=_BUFFER_BYTES,
)
"""Limits on the memory that a client can occupy before its request begins. Headers may have 16 KB, paths 8 KB: the HTTP
server itself refuses longer ones."""


class HttpServer:
    def __init__(
        self,
        app: ASGIApp,
        settings: Settings,
        listen: Listen,
        connections: Connections,
        count_closed: Callable[[str, int], None],
    ) -> None:
        """:param connections: counts the requests of `app` by connection.
        :param count_closed: called with the reason and the number of closed connections.
        """
        most = _most_connections()
        self._connections = connections
        self._watch = ConnectionWatch(
            connections, settings.limits, port=listen.port, most=most, count_closed=count_closed
        )
        self._server = Server(
            app,
            address=listen.host,
            port=listen.port,
            ssl_cert=settings.tls_cert,
            ssl_key=settings.tls_key,
            ssl_protocol_min=SSLProtocols.tls12,
            interface=Interfaces.ASGI,
            websockets=False,
            backlog=_WAITING_CONNECTIONS,
            backpressure=most,
            http1_settings=HTTP1Settings(max_buffer_size=_BUFFER_BYTES),
            http2_settings=_HTTP2,
            log_level=LogLevels.error,
        )
        self._serving: asyncio.Task[None] | None = None

    async def watch(self) -> None:
        """Close silent, idle and excess connections until cancelled."""
        await self._watch.run()

    async def serve(self, stopped: asyncio.Event) -> None:
        """Serve until `stopped` is set. Call `close` afterwards."""
        self._serving = asyncio.create_task(self._server.serve())
        stopping = asyncio.create_task(stopped.wait())
        await asyncio.wait({self._serving, stopping}, return_when=asyncio.FIRST_COMPLETED)

    async def close(self) -> None:
        """Stop accepting requests, and wait a few seconds for those in progress."""
        serving = self._serving
        if serving is None:
            return
        loop = asyncio.get_running_loop()
        self._connections.closing = True
        if not serving.done():
            self._server.stop()  # type: ignore[no-untyped-call]  # the library leaves it untyped
        last = loop.time() + _GRACE_SECONDS
        while not serving.done() and loop.time() < last:
            self._watch.close_unidentified()  # repeatedly, because new ones may have been accepted
            await asyncio.wait({serving}, timeout=_BETWEEN_CLOSINGS)
        if not serving.done():
            self._watch.close_all()
            log.warning(
                "some requests did not end within %s s of the stop; their connections are closed", _GRACE_SECONDS
            )
            await asyncio.wait({serving}, timeout=_CLOSING_SECONDS)


def _most_connections() -> int:
    """Return the maximum number of concurrent connections. Others wait without a response until one of these is closed.

    Each connection takes an open file. Raise the limit of open files as far as possible, and leave half of them to the
    database and the nodes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = max(soft, _FILES if hard == resource.RLIM_INFINITY else min(hard, _FILES))
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    return min(_CONNECTIONS, files // 2)
