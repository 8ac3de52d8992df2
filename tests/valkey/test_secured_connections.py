"""Connections of the control plane to a node on another host that has TLS: who it speaks with, and what others read.

The node is a real one without TLS, behind an end of TLS that demands what a node demands.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from cachewright.model.instances import Node
from cachewright.valkey import certificates
from cachewright.valkey.access import Access, address
from cachewright.valkey.acl import CONTROL_USER
from cachewright.valkey.certificates import authority_certificate, client_certificate, new_authority, node_certificate
from cachewright.valkey.client import NODE_GONE, connect
from cachewright.valkey.rdb_stream import RdbStream
from cachewright.valkey.session import Session
from cachewright.valkey.single_request import request_once
from standalone_node import node_at, started

AUTHORITY = new_authority("i")
SECRET, VALUE = "secret-of-the-control-plane", "value-of-a-client"
ID = "d" * 40
ACCESS = Access(SECRET, None, Path(), node_ca=AUTHORITY)
USER = f"user {CONTROL_USER} on >{SECRET} ~* &* +@all"


def certificate_of_an_earlier_release() -> str:
    """Without names: the id is the common name alone."""
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    return certificates._issued(AUTHORITY, ID, datetime.now(UTC), timedelta(days=3650), [usage])


@asynccontextmanager
async def secured(folder: Path, node: Node, pem: str) -> AsyncIterator[tuple[Node, bytearray]]:
    """The node as one of another host that has TLS with this key and certificate, and the bytes that travel."""
    (folder / "end.pem").write_text(pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=authority_certificate(AUTHORITY))
    context.load_cert_chain(folder / "end.pem")
    wire = bytearray()
    async with (
        _passing(node.port, bytearray(), context) as end,
        _passing(end, wire, None) as port,
    ):
        yield on_another_host(node, port), wire


@asynccontextmanager
async def _passing(to: int, seen: bytearray, context: ssl.SSLContext | None) -> AsyncIterator[int]:
    """A port that passes all bytes to another one, and keeps a copy."""

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while part := await reader.read(65536):
                seen.extend(part)
                writer.write(part)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        other_reader, other_writer = await asyncio.open_connection("127.0.0.1", to)
        await asyncio.gather(copy(reader, other_writer), copy(other_reader, writer))

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@pytest.mark.parametrize("earlier", [False, True], ids=["with names", "of an earlier release"])
async def test_the_control_plane_speaks_with_nodes_of_other_hosts_by_tls(tmp_path: Path, earlier: bool) -> None:
    pem = certificate_of_an_earlier_release() if earlier else node_certificate(AUTHORITY, ID, "127.0.0.1")
    async with started(tmp_path, USER) as plain, secured(tmp_path, plain, pem) as (node, wire):
        assert await request_once(node, ACCESS, [("SET", "key", VALUE)], 5) == ["OK"]
        async with connect(node, ACCESS, 5) as client:
            assert await client.get("key") == VALUE
        session = await Session.open(node, ACCESS, 5)
        assert await session.ask("GET", "key") == VALUE
        session.close()
        stream = await RdbStream.open(node, ACCESS)
        await stream.begin()
        snapshot = b"".join([part async for part in stream.parts()])
        stream.close()
        assert VALUE.encode() in snapshot
        assert len(wire) > 4000
        assert not [text for text in (SECRET, VALUE, "AUTH", "PSYNC") if text.encode() in wire]


@pytest.mark.parametrize(
    "pem",
    [
        node_certificate(new_authority("i"), ID, "127.0.0.1"),
        node_certificate(AUTHORITY, "e" * 40, "127.0.0.1"),
        client_certificate(AUTHORITY),
    ],
    ids=["another authority", "another node", "no server"],
)
async def test_a_program_that_is_not_the_node_gets_no_secret(tmp_path: Path, pem: str) -> None:
    got = bytearray()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.extend(await reader.read(4096))
        writer.close()

    (tmp_path / "end.pem").write_text(pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "end.pem")
    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=context)
    node = node_of(server.sockets[0].getsockname()[1])
    try:
        with pytest.raises(NODE_GONE):
            await request_once(node, ACCESS, [("PING",)], 5)
        with pytest.raises(NODE_GONE):
            await Session.open(node, ACCESS, 5)
        with pytest.raises(NODE_GONE):
            async with connect(node, ACCESS, 5) as client:
                await client.ping()
        with pytest.raises(NODE_GONE):
            await RdbStream.open(node, ACCESS)
    finally:
        server.close()
    assert not got


async def test_a_secret_is_not_sent_in_clear_when_the_authority_is_missing() -> None:
    with (
        pytest.raises(OSError, match="has no authority"),
        address(node_of(1), msgspec.structs.replace(ACCESS, node_ca=None)),
    ):
        pass


def node_of(tls_port: int) -> Node:
    return on_another_host(node_at(1), tls_port)


def on_another_host(node: Node, tls_port: int) -> Node:
    """The node as one of another host that has TLS."""
    return msgspec.structs.replace(node, id=ID, host_name="h2", access="socket", port=1, tls_port=tls_port)
