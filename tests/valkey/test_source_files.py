"""Files that are imported: their begin, and servers that send something else."""

import asyncio
import gzip
import shutil
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
from msgspec.structs import replace

from cachewright import errors
from cachewright.disk_reserve import available
from cachewright.operations.online_migrations.imports import unsuitable
from cachewright.valkey.certificates import authority_certificate, new_authority, server_certificate
from cachewright.valkey.sources import gateway
from cachewright.valkey.sources.files import fetch_file, file_size, parse_file_url, require_readable, without_query
from cachewright.valkey.sources.gateway import Gateway
from cachewright.valkey.sources.source import Source, SourceUnusable, ask

LOOPBACK = Source(addresses=(), networks=("127.0.0.0/8",))
DUMP = b"REDIS0011" + bytes(100)


@asynccontextmanager
async def sending(answer: bytes, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """The URL of a file on a server that has one answer to all requests."""

    async def answered(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answered, "127.0.0.1", 0, ssl=tls)
    async with server:
        port = server.sockets[0].getsockname()[1]
        yield f"{'https' if tls else 'http'}://127.0.0.1:{port}/dump.rdb?sign=secret"


def http(body: bytes, *headers: str, size: int | None = None, status: str = "200 OK") -> bytes:
    """An answer with the size of its body, or another one."""
    length = len(body) if size is None else size
    return "\r\n".join((f"HTTP/1.1 {status}", f"Content-Length: {length}", *headers, "", "")).encode() + body


@pytest.mark.parametrize("url", ["https://bucket.example.com/dump.rdb?sign=a%2Fb", "http://[fd00::7]:8080/a"])
def test_urls_of_files(url: str) -> None:
    assert parse_file_url(url) == url
    assert "?" not in without_query(url)


@pytest.mark.parametrize(
    "text",
    [
        "dump.rdb", "ftp://host/dump.rdb", "file:///etc/passwd", "https:///dump.rdb", "https://host:99999/a",
        "https://user:secret@host/dump.rdb", "https://host/a b", "https://host/a#part", "https://[fd00::7/a",
    ],
)  # fmt: skip
def test_other_texts_are_no_urls_of_files(text: str) -> None:
    with pytest.raises(SourceUnusable) as refused:
        parse_file_url(text)
    assert "secret" not in refused.value.message


@pytest.mark.parametrize("begin", [b"REDIS0009\xfa", b"REDIS0011", b"VALKEY080\x00"])
def test_files_that_may_be_readable(begin: bytes) -> None:
    require_readable(begin, "dump.rdb")


@pytest.mark.parametrize(
    "begin", [b"", b"REDIS", b"REDISabcd", b"<html>\n<head>", b"REDIS0012\xfa", b"\x1f\x8b\x08gzip"]
)
def test_files_that_are_not_readable(begin: bytes) -> None:
    with pytest.raises(SourceUnusable) as refused:
        require_readable(begin, "dump.rdb")
    assert not refused.value.passes


def test_files_need_room_in_the_instance_and_on_the_disk() -> None:
    assert unsuitable([10, 20], room=30, disk_free=30) is None
    for room, disk_free, code in ((29, 100, errors.MIGRATION_OUT_OF_MEMORY), (100, 29, errors.NOT_ENOUGH_DISK)):
        failure = unsuitable([10, 20], room, disk_free)
        assert failure is not None
        assert (failure.code, failure.final) == (code, True)


def test_why_a_file_was_not_loaded() -> None:
    log = (
        "1:M 26 Nov 2026 19:00:00.000 * Loading RDB produced by Redis version 7.0.15\n"
        "1:M 26 Nov 2026 19:00:00.001 # Short read or OOM loading DB. Unrecoverable error, aborting now.\n"
        "1:M 26 Nov 2026 19:00:00.002 # Fatal error loading the DB, check server logs. Exiting.\n"
    )
    assert gateway.load_failure(log) == "Short read or OOM loading DB. Unrecoverable error, aborting now."
    assert gateway.load_failure("1:M 26 Nov 2026 19:00:00.000 * Done\n") is None


def test_why_a_file_with_a_key_that_is_no_text_was_not_loaded(tmp_path: Path) -> None:
    made = Gateway("gateway", "secret", tmp_path)
    assert gateway.read_log(made) == ""
    begin = b"1:M 26 Nov 2026 19:00:00.000 * "
    (tmp_path / gateway.LOG).write_bytes(bytes(200_000) + b"\n" + begin + b"\xff\xfe\n" + begin + b"RDB CRC error\n")
    assert "RDB CRC error" in (gateway.load_failure(gateway.read_log(made)) or "")


async def test_a_file_is_fetched_as_it_is_sent(tmp_path: Path) -> None:
    target, stored = tmp_path / "dump.rdb", list[int]()
    async with sending(http(DUMP)) as url:
        assert await file_size(LOOPBACK, url) == len(DUMP)
        await fetch_file(LOOPBACK, url, len(DUMP), target, stored.append)
        assert (target.read_bytes(), target.stat().st_mode & 0o777, stored[-1]) == (DUMP, 0o600, len(DUMP))
        with pytest.raises(SourceUnusable, match="has changed"):
            await fetch_file(LOOPBACK, url, len(DUMP) + 1, tmp_path / "changed", stored.append)
    async with sending(http(DUMP, size=len(DUMP) + 9)) as url:
        with pytest.raises(SourceUnusable, match="cut off") as refused:
            await fetch_file(LOOPBACK, url, len(DUMP) + 9, tmp_path / "cut", stored.append)
    assert refused.value.passes
    assert not [name for name in ("changed", "cut") if (tmp_path / name).exists()]


async def test_a_look_at_a_file_waits_for_its_begin_only() -> None:
    """Of a server that sends a few bytes and then nothing."""
    rest = asyncio.Event()

    async def answered(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(http(DUMP, size=10**12))
        await rest.wait()
        writer.close()

    server = await asyncio.start_server(answered, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/dump.rdb"
        assert await file_size(LOOPBACK, url) == 10**12
        rest.set()


async def test_the_reserve_of_the_disk_is_not_used_for_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=1000, free=50 + len(DUMP) - 1))
    assert available(tmp_path) == len(DUMP) - 1
    async with sending(http(DUMP)) as url:
        with pytest.raises(OSError, match="almost full"):
            await fetch_file(LOOPBACK, url, len(DUMP), tmp_path / "dump.rdb", lambda stored: None)
    assert not (tmp_path / "dump.rdb").exists()


@pytest.mark.parametrize(
    ("answer", "words", "passes"),
    [
        (http(gzip.compress(gzip.compress(bytes(10**6))), "Content-Encoding: gzip, gzip"), "compresses", False),
        (http(gzip.compress(DUMP, mtime=0)), "is not an RDB file", False),
        (http(DUMP, size=10**18), "does not tell the size", False),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "does not tell the size", False),
        (http(b"", "Location: http://169.254.169.254/", status="302 Found"), "answers 302, a redirection", False),
        (http(b"", status="503 secret"), "answers 503", True),
        (b"SSH-2.0-OpenSSH_9.2p1 secret-banner\r\n", "is not HTTP", True),
        (b"", "is not HTTP", True),
    ],
)
async def test_other_answers(answer: bytes, words: str, passes: bool) -> None:
    """What is no file is not unpacked, and not shown: it may come from another service."""
    async with sending(answer) as url:
        with pytest.raises(SourceUnusable, match=words) as refused:
            await file_size(LOOPBACK, url)
    assert refused.value.passes == passes
    assert "secret" not in refused.value.message


async def test_servers_that_cannot_be_read_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = new_authority("test")
    (tmp_path / "server.pem").write_text(server_certificate(authority, "127.0.0.1"))
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(tmp_path / "server.pem")
    async with sending(http(DUMP), tls) as url:
        with pytest.raises(SourceUnusable, match=r"the certificate is refused: .* must know its authority") as refused:
            await file_size(LOOPBACK, url)
        assert not refused.value.passes
        port = int(url.rpartition(":")[2].partition("/")[0])
        with pytest.raises(SourceUnusable, match="CERTIFICATE_VERIFY_FAILED") as refused:
            await ask(replace(LOOPBACK, tls="host"), "127.0.0.1", port, [("PING",)])
        assert not refused.value.passes
        (tmp_path / "authority.pem").write_text(authority_certificate(authority))
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))  # now the system knows it
        assert await file_size(LOOPBACK, url) == len(DUMP)
    with pytest.raises(SourceUnusable, match="cannot be reached") as absent:
        await file_size(LOOPBACK, url)
    assert absent.value.passes

    def unknown(host: str) -> None:
        raise OSError(host)

    monkeypatch.setattr("cachewright.valkey.sources.source.resolved", unknown)
    with pytest.raises(SourceUnusable, match="the host xn--a is not known"):
        await file_size(LOOPBACK, parse_file_url("http://xn--a/dump.rdb"))
