"""Signed requests to a server, and their decoded responses."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import cached_property
from ssl import SSLContext
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx

from cachewright.client.account import Account
from cachewright.client.errors import RequestRefused, Unreachable
from cachewright.signature import ALGORITHM, SignedRequest, signature

_SECONDS = 60.0
_EVENT_STREAM = "text/event-stream"
_SILENCE_SECONDS = 40.0
"""Silence after which a stream counts as lost. A server sends a comment every 15 s."""


class ApiClient:
    """Client of one project on one server. Methods raise RequestRefused or Unreachable."""

    def __init__(self, account: Account) -> None:
        self._account = account

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None, **query: Any) -> Any:
        """Send a request and decode the response; None if it is empty. `path` is below the project."""
        return asyncio.run(self._ask(method, path, body, query))

    async def _ask(self, method: str, path: str, body: Mapping[str, Any] | None, query: Mapping[str, Any]) -> Any:
        async with self._client() as http:
            return await self.asked(http, method, path, body, query)

    async def asked(
        self,
        http: httpx.AsyncClient,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, Any] | None = None,
    ) -> Any:
        """Send a request on an open connection."""
        try:
            answer = await http.send(self._signed(method, path, body, query or {}))
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error
        return _read(answer)

    async def download(self, url: str) -> bytes:
        """Return the contents of a public file of the server."""
        async with self._client() as http:
            try:
                answer = await http.get(url)
                answer.raise_for_status()
            except httpx.HTTPError as error:
                raise self._unreachable(error) from error
        return answer.content

    @asynccontextmanager
    async def _client(self) -> AsyncIterator[httpx.AsyncClient]:
        try:
            async with httpx.AsyncClient(verify=self._tls, timeout=_SECONDS) as http:
                yield http
        except OSError as error:
            raise Unreachable(f"cannot use {self._account.ca_file}: {error}") from error

    @cached_property
    def _tls(self) -> SSLContext:
        """Made once, as loading the certificate authorities takes longer than a request. OSError if the file with them
        cannot be read."""
        verify: Any = self._account.ca_file or True
        return httpx.create_ssl_context(verify=verify)

    def connected(self) -> Any:
        """Open connection for several requests."""
        return self._client()

    async def events(self, http: httpx.AsyncClient, path: str) -> AsyncIterator[tuple[str, Any]]:
        """Yield name and data of each event of a stream, until the server ends it."""
        request = self._signed("GET", path, None, {}, accept=_EVENT_STREAM)
        request.extensions["timeout"] = httpx.Timeout(_SECONDS, read=_SILENCE_SECONDS).as_dict()
        try:
            answer = await http.send(request, stream=True)
            try:
                if not answer.headers.get("content-type", "").startswith(_EVENT_STREAM):
                    await answer.aread()
                    _read(answer)
                    raise Unreachable(f"{self._account.endpoint} did not send an event stream")
                name = ""
                async for line in answer.aiter_lines():
                    field, _, value = line.partition(": ")
                    if field == "event":
                        name = value
                    elif field == "data":
                        yield name, json.loads(value)
            finally:
                await answer.aclose()
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error

    def _signed(
        self, method: str, path: str, body: Mapping[str, Any] | None, query: Mapping[str, Any], accept: str = "*/*"
    ) -> httpx.Request:
        target = f"/v2/{self._account.project_id}/{path}"
        asked = urlencode({name: value for name, value in query.items() if value is not None})
        content = b"" if body is None else json.dumps(body).encode()
        headers = {
            b"host": urlsplit(self._account.endpoint).netloc.encode(),
            b"x-sdk-date": f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}".encode(),
        }
        request = SignedRequest(
            method=method.encode(), path=target.encode(), query=asked.encode(), headers=[], body=content
        )
        claim = b"%b Access=%b, SignedHeaders=%b, Signature=%b" % (
            ALGORITHM,
            self._account.access_key.encode(),
            b";".join(headers),
            signature(request, headers, self._account.secret_key),
        )
        also = {b"authorization": claim, b"accept": accept.encode(), b"user-agent": b"cachewright"}
        if content:
            also[b"content-type"] = b"application/json"
        url = f"{self._account.endpoint}{target}" + (f"?{asked}" if asked else "")
        try:
            return httpx.Request(method, url, headers=list((headers | also).items()), content=content)
        except httpx.InvalidURL as error:
            raise Unreachable(f"{self._account.endpoint!r} is not a valid URL") from error

    def _unreachable(self, error: httpx.HTTPError) -> Unreachable:
        return Unreachable(f"no response from {self._account.endpoint}: {error or type(error).__name__}")


def _read(answer: httpx.Response) -> Any:
    if answer.is_success and answer.headers.get("content-type", "").startswith("text/plain"):
        return answer.text
    try:
        body = json.loads(answer.content) if answer.content else None
    except ValueError as error:
        raise Unreachable(
            f"{answer.url.netloc.decode()} is not a Cachewright server (HTTP {answer.status_code})"
        ) from error
    if answer.is_success:
        return body
    content = body if isinstance(body, dict) else {}
    raise RequestRefused(
        answer.status_code,
        str(content.get("error_code", "")),
        str(content.get("error_msg", "request rejected")),
        answer.headers.get("x-request-id", "-"),
    )
