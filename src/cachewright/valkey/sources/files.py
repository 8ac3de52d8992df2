"""RDB files at URLs, which tenants name. Addresses of hosts are checked as those of sources, and sizes are limited.

The host name is resolved once, and the connection uses the address that was checked. Redirections are not followed.
URLs may contain signatures, so errors name the file without its query. They do not repeat what the server has sent:
it may be another service, of a network that the owner of the import does not reach.
"""

import asyncio
import os
import re
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from cachewright.disk_reserve import append, sync
from cachewright.valkey.sources.source import Source, SourceUnusable, certificate_error, checked_address

_SCHEMES = ("http", "https")
_ANSWER_SECONDS = 30.0
_PART_BYTES = 1024 * 1024
_OWNER_ONLY = 0o600
_BUSY_STATUS = 500
_SIZE = re.compile("[0-9]{1,18}")
_MAGIC_BYTES = 9
_MAGICS = (b"REDIS", b"VALKEY")
_NEWEST_OF_REDIS = 11
"""Version of the files of Redis 7.2. Valkey does not read those of later ones."""


def parse_file_url(text: str) -> str:
    """Return the URL of a file. Raises SourceUnusable."""
    try:
        parts = urlsplit(text)
        is_known = parts.scheme in _SCHEMES and parts.hostname and parts.port != 0 and httpx.URL(text)
    except (ValueError, httpx.InvalidURL):
        is_known = False
    if not is_known or parts.username or parts.password or parts.fragment or not text.isprintable() or " " in text:
        shown = "the name of the file" if "@" in text or "?" in text else repr(text[:100])
        raise SourceUnusable(f"{shown} is not a URL such as https://bucket.example.com/dump.rdb", passes=False)
    return text


def without_query(url: str) -> str:
    return url.partition("?")[0]


def require_readable(begin: bytes, name: str) -> None:
    """Raise SourceUnusable unless this is the begin of an RDB file that Valkey may read. Pure."""
    magic = next((magic for magic in _MAGICS if begin.startswith(magic)), None)
    digits = begin[:_MAGIC_BYTES].removeprefix(magic or b"")
    if magic is None or len(digits) + len(magic) != _MAGIC_BYTES or not digits.isdigit():
        raise SourceUnusable(f"{name} is not an RDB file", passes=False)
    if magic == _MAGICS[0] and int(digits) > _NEWEST_OF_REDIS:
        raise SourceUnusable(f"{name} has RDB version {int(digits)}, which Valkey does not read", passes=False)


async def file_size(source: Source, url: str) -> int:
    """Return the bytes of a file after a look at its begin. Raises SourceUnusable."""
    async with _opened(source, url) as (size, answer):
        begin = b""
        async for part in answer.aiter_raw():  # as they arrive: a slow server need not send a whole part
            begin += part
            if len(begin) >= _MAGIC_BYTES:
                break
        require_readable(begin, without_query(url))
        return size


async def fetch_file(source: Source, url: str, size: int, target: Path, progress: Callable[[int], None]) -> None:
    """Store a file of this size at `target`, durably and readable by its owner only: whole or not at all. Raises
    SourceUnusable, or OSError of the disk, also if that has nothing but its reserve left.

    :param progress: called with the bytes that are stored.
    """
    partial = target.with_name(f"{target.name}.partial")
    done = 0
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _OWNER_ONLY)
    with os.fdopen(descriptor, "wb") as file:
        async with _opened(source, url) as (present, answer):
            if present != size:
                raise SourceUnusable(f"{without_query(url)} has changed: {present} bytes, not {size}", passes=False)
            async for part in answer.aiter_raw(_PART_BYTES):
                done += len(part)
                if done > size:
                    break
                await asyncio.to_thread(append, file, part, target.parent)
                progress(done)
        if done != size:
            raise SourceUnusable(f"{without_query(url)} has ended after {done} of {size} bytes", passes=True)
        await asyncio.to_thread(sync, file)
    partial.replace(target)


@asynccontextmanager
async def _opened(source: Source, url: str) -> AsyncIterator[tuple[int, httpx.Response]]:
    """Yield the size of a file and the answer that has it, which is read as it is sent: unpacked parts would have no
    limit. Raises SourceUnusable."""
    name = without_query(url)
    wanted = httpx.URL(url)
    host = wanted.raw_host.decode("ascii")  # `host` fails for some names
    address = await checked_address(source, host)
    pinned = wanted.copy_with(host=str(address))
    authorities = await asyncio.to_thread(ssl.create_default_context)  # of the system; httpx has a list of its own
    headers = {"Host": wanted.netloc.decode("ascii"), "Accept-Encoding": "identity"}
    try:
        async with (
            httpx.AsyncClient(verify=authorities, timeout=_ANSWER_SECONDS, trust_env=False) as http,
            http.stream("GET", pinned, headers=headers, extensions={"sni_hostname": host}) as answer,
        ):
            if answer.has_redirect_location:
                words = f"the server answers {answer.status_code}, a redirection, which is not followed"
                raise SourceUnusable(f"{name}: {words}; give the URL of the file itself", passes=False)
            if answer.status_code != httpx.codes.OK:
                busy = answer.status_code >= _BUSY_STATUS or answer.status_code == httpx.codes.TOO_MANY_REQUESTS
                raise SourceUnusable(f"{name}: the server answers {answer.status_code}", passes=busy)
            if answer.headers.get("Content-Encoding", "identity").lower() != "identity":
                raise SourceUnusable(f"{name}: the server compresses the file", passes=False)
            length = answer.headers.get("Content-Length", "")
            if not _SIZE.fullmatch(length):
                raise SourceUnusable(f"{name}: the server does not tell the size", passes=False)
            yield int(length), answer
    except httpx.HTTPError as error:
        raise SourceUnusable(f"{name}: {_words(error)}", passes=certificate_error(error) is None) from error


def _words(error: httpx.HTTPError) -> str:
    """Return why a file cannot be read, without what the server has sent. Pure."""
    if isinstance(error, httpx.TimeoutException):
        return "the server does not answer in time"
    if isinstance(error, httpx.ConnectError):
        refused = certificate_error(error)
        if refused is None:
            return "the server cannot be reached"
        return (
            f"the certificate is refused: {refused.verify_message}; the system of Cachewright must know its authority"
        )
    if isinstance(error, httpx.NetworkError):
        return "the connection was lost"
    return "the answer is cut off, or is not HTTP"
