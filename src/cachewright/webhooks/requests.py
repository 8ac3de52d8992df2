"""Requests to webhooks: a POST to a checked address.

The host name is resolved once, its addresses are checked, and the connection uses an allowed address. DNS rebinding has
no effect, because the name is not resolved again.
"""

import asyncio
from collections import defaultdict
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache
from ssl import SSLContext
from typing import Any

import httpx

from cachewright.errors import CachewrightError
from cachewright.hosts.addresses import Address, is_allowed, literal, own_addresses, resolved

_ANSWER_SECONDS = 10.0
_LOOKUPS = 32
_LOOKUPS_OF_A_PROJECT = 2


class AddressNotAllowed(CachewrightError):
    """No address of the receiver is allowed."""


class Lookups:
    """Resolves names on separate threads. A silent name server blocks a thread for longer than a request may take, so
    the number per project is limited. Belongs to one event loop."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_LOOKUPS, thread_name_prefix="webhook lookup")
        self._free: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(_LOOKUPS_OF_A_PROJECT))

    async def addresses(self, project_id: str, host: str) -> list[Address]:
        """Resolve a host. httpx.ConnectError if it has no address."""
        if (address := literal(host)) is not None:
            return [address]
        free, loop = self._free[project_id], asyncio.get_running_loop()
        await free.acquire()
        lookup = self._threads.submit(resolved, host)

        def release(_: Future[Any]) -> None:
            with suppress(RuntimeError):  # the loop has ended with the server
                loop.call_soon_threadsafe(free.release)

        lookup.add_done_callback(release)  # when the thread is free, possibly after this call was cancelled
        try:
            return await asyncio.wrap_future(lookup)
        except (OSError, UnicodeError) as error:
            raise httpx.ConnectError(str(error)) from error


class CheckedTransport(httpx.AsyncBaseTransport):
    """Sends requests to allowed addresses only. AddressNotAllowed if the host of a request has none."""

    def __init__(self, lookups: Lookups, project_id: str, *, to_private: bool) -> None:
        self._lookups = lookups
        self._project_id = project_id
        self._to_private = to_private
        self._sending = httpx.AsyncHTTPTransport(
            verify=_tls(), trust_env=False, limits=httpx.Limits(max_keepalive_connections=0)
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        host = request.url.raw_host.decode("ascii")
        found = await self._lookups.addresses(self._project_id, host)
        own = () if self._to_private else own_addresses()
        allowed = [address for address in found if is_allowed(address, to_private=self._to_private, own=own)]
        if not allowed:
            raise AddressNotAllowed(f"events are not sent to the address of {host}")
        *others, last = allowed
        for address in others:
            with suppress(httpx.ConnectError, httpx.ConnectTimeout):
                return await self._send(request, host, address, _ANSWER_SECONDS / len(allowed))
        return await self._send(request, host, last, _ANSWER_SECONDS)

    async def _send(self, request: httpx.Request, host: str, address: Address, seconds: float) -> httpx.Response:
        """Send to an address with the `Host` header of the URL; the certificate must match `host`."""
        pinned = httpx.Request(
            request.method,
            request.url.copy_with(host=str(address)),
            headers=request.headers,
            stream=request.stream,
            extensions={
                **request.extensions,
                "sni_hostname": host,
                "timeout": {**request.extensions["timeout"], "connect": seconds},
            },
        )
        return await self._sending.handle_async_request(pinned)

    async def aclose(self) -> None:
        await self._sending.aclose()


async def post(transport: CheckedTransport, url: str, body: bytes, headers: dict[str, str]) -> int:
    """Send a POST and return the status. Reads no body and follows no redirect."""
    async with (
        asyncio.timeout(_ANSWER_SECONDS),
        httpx.AsyncClient(transport=transport, timeout=_ANSWER_SECONDS, trust_env=False) as http,
        http.stream("POST", url, content=body, headers=headers) as answer,
    ):
        return answer.status_code


@lru_cache(maxsize=1)
def _tls() -> SSLContext:
    """Shared context: loading the certificate authorities takes longer than sending an event."""
    return httpx.create_ssl_context(trust_env=False)
