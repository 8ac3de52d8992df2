"""Requests to webhooks: one POST to an address that was checked, without a thread that waits for the answer.

A name is resolved here, its addresses are checked, and the connection is made to an address that passed. A name that
resolves to another address a moment later (DNS rebinding) changes nothing, since it is not resolved again.
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
    """No address of the receiver is one that events are sent to."""


class Lookups:
    """Resolves names on threads of its own: a name server that does not answer holds a thread for longer than a request
    may take, so a project has few of them. For use on one event loop."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_LOOKUPS, thread_name_prefix="webhook lookup")
        self._free: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(_LOOKUPS_OF_A_PROJECT))

    async def addresses(self, project_id: str, host: str) -> list[Address]:
        """httpx.ConnectError where there is none."""
        if (known := literal(host)) is not None:
            return [known]
        free, loop = self._free[project_id], asyncio.get_running_loop()
        await free.acquire()
        lookup = self._threads.submit(resolved, host)

        def release(_: Future[Any]) -> None:
            with suppress(RuntimeError):  # the loop has ended with the server
                loop.call_soon_threadsafe(free.release)

        lookup.add_done_callback(release)  # when the thread is free again, which may be after this call was cancelled
        try:
            return await asyncio.wrap_future(lookup)
        except (OSError, UnicodeError) as error:
            raise httpx.ConnectError(str(error)) from error


class CheckedTransport(httpx.AsyncBaseTransport):
    """Sends requests to allowed addresses only. AddressNotAllowed where the host of a request has none."""

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
        """The `Host` header was set from the request's URL; the certificate must be one of `host` as well."""
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
    """The status of the answer. Nothing else of it is read, and no redirect is followed."""
    async with (
        asyncio.timeout(_ANSWER_SECONDS),
        httpx.AsyncClient(transport=transport, timeout=_ANSWER_SECONDS, trust_env=False) as http,
        http.stream("POST", url, content=body, headers=headers) as answer,
    ):
        return answer.status_code


@lru_cache(maxsize=1)
def _tls() -> SSLContext:
    """One for all requests: to load the certificate authorities takes longer than to send an event."""
    return httpx.create_ssl_context(trust_env=False)
