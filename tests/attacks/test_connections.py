"""Connections that say nothing, too little or too late, and too many of them."""

import fcntl
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import trustme
from premises import add_instance, add_token, connections
from raw_http import PREFACE, SETTINGS, Http2, close_all, connect, frame, is_closed, over_tls

from cachewright.api.connections import (
    IDLE,
    NO_REQUEST,
    TOO_MANY,
    TOO_MANY_OF_ADDRESS,
    Connection,
    Connections,
    to_close,
    to_close_at_end,
)
from cachewright.api.sockets import ConnectionWatch
from cachewright.config import RequestLimits
from cachewright.hosts.addresses import network
from serving import COMMAND, Server, until

QUICK = ("--first-request-seconds", "1", "--idle-seconds", "2")
GET = b"GET /console HTTP/1.1\r\nHost: x\r\n\r\n"


@contextmanager
def running(folder: Path, *words: str, files: int | None = None) -> Iterator[Server]:
    """`files` is how many files the server may open."""
    limited = ("sh", "-c", f'ulimit -n {files}; exec "$@"', "sh") if files else ()
    server = Server(folder / "data", (*limited, *COMMAND, *words))
    try:
        server.start()
        yield server
    finally:
        server.clean_up()


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("quick"), *QUICK) as server:
        yield server


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("secure")
    issued = trustme.CA().issue_cert("127.0.0.1")
    cert, key = folder / "cert.pem", folder / "key.pem"
    issued.cert_chain_pems[0].write_to_path(cert)
    issued.private_key_pem.write_to_path(key)
    with running(folder, *QUICK, "--tls-cert", str(cert), "--tls-key", str(key)) as server:
        yield server


SILENT: dict[str, Callable[[socket.socket], None]] = {
    "nothing": lambda connection: None,
    "half a head": lambda connection: connection.sendall(GET[:20]),
    "a preface of HTTP/2": lambda connection: connection.sendall(PREFACE + frame(*SETTINGS, 0)),
    "half a preface": lambda connection: connection.sendall(PREFACE[:10]),
    "pings of HTTP/2": lambda connection: connection.sendall(PREFACE + frame(*SETTINGS, 0) + frame(6, 0, 0, b"x" * 8)),
}


@pytest.mark.parametrize("sent", SILENT)
def test_a_connection_without_a_request_is_closed(quick: Server, sent: str) -> None:
    with connect(quick.port) as connection:
        SILENT[sent](connection)
        until(lambda: is_closed(connection), f"a connection that sends {sent} stays open")


@pytest.mark.parametrize("sent", ["nothing", "half a hello"])
def test_a_tls_handshake_that_does_not_end_is_closed(secure: Server, sent: str) -> None:
    with connect(secure.port) as connection:
        if sent != "nothing":
            connection.sendall(b"\x16\x03\x01\x02\x00\x01")
        until(lambda: is_closed(connection), "a handshake stays open")


@pytest.mark.parametrize(
    ("protocol", "sent"), [("h2", PREFACE + frame(*SETTINGS, 0)), ("h2", b""), ("http/1.1", b""), ("http/1.1", GET[:9])]
)
def test_a_tls_connection_without_a_request_is_closed(secure: Server, protocol: str, sent: bytes) -> None:
    with over_tls(connect(secure.port), protocol) as connection:
        assert connection.selected_alpn_protocol() == protocol
        connection.sendall(sent)
        until(lambda: is_closed(connection), "a TLS connection without a request stays open")


def test_an_idle_http2_connection_is_closed_and_a_busy_one_is_not(quick: Server) -> None:
    with connect(quick.port) as idle, connect(quick.port) as busy:
        Http2(idle).get("/console")
        client = Http2(busy)
        until(lambda: client.get("/console") and is_closed(idle), "an idle HTTP/2 connection stays open")
        client.get("/console")


def test_an_idle_http2_connection_over_tls_is_closed(secure: Server) -> None:
    with over_tls(connect(secure.port), "h2") as connection:
        Http2(connection).get("/console")
        until(lambda: is_closed(connection), "an idle HTTP/2 connection stays open")


def test_a_connection_in_use_stays_open(quick: Server) -> None:
    """A stream, and one request after another, for longer than a connection may be idle."""
    path = f"instances/{add_instance(quick)}/state"
    with httpx.Client(timeout=30) as http, connect(quick.port) as used:
        stream = http.send(quick.signed("GET", path, Accept="text/event-stream"), stream=True)
        chunks = stream.iter_raw()
        assert b"event: state" in next(chunks)
        for _ in range(12):
            used.sendall(GET)
            assert used.recv(65536).startswith(b"HTTP/1.1 200 ")
            time.sleep(0.4)
        token = add_token(quick)  # each write makes the stream look again
        assert quick.call("PUT", path.removesuffix("/state"), {"name": f"n-{token[:8]}"})[0] == 204
        assert token[:8].encode() in next(chunks)
        stream.close()


def test_connections_of_ipv6_are_known_by_their_requests(tmp_path: Path) -> None:
    """The HTTP server and the system must write an address alike, or requests would be counted for no connection."""
    server = Server(tmp_path / "data", (*COMMAND, *QUICK), host="[::]")
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    try:
        server.start()
        used = [socket.create_connection((address, server.port), timeout=30) for address in ("::1", "127.0.0.1")]
        for _ in range(10):
            for connection in used:
                connection.sendall(GET)
                assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
            time.sleep(0.4)
        close_all(used)
    finally:
        server.clean_up()


def answers(server: Server, source: str = "127.0.0.1") -> bool:
    """A new connection of that address is served."""
    try:
        with connect(server.port, source) as connection:
            connection.settimeout(10)
            connection.sendall(GET)
            return connection.recv(12) == b"HTTP/1.1 200"
    except OSError:
        return False


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("narrow"), "--connections-per-address", "20") as server:
        yield server


def test_one_address_has_so_many_connections(narrow: Server) -> None:
    opened: list[socket.socket] = []
    try:
        opened += [connect(narrow.port, "127.0.0.2") for _ in range(60)]
        until(lambda: sum(map(is_closed, opened)) >= 40, "connections beyond the limit stay open")
        assert sum(map(is_closed, opened)) == 40
        assert answers(narrow)
        until(lambda: answers(narrow, "127.0.0.2"), "an address over its limit is served after its idle ones")
        assert "connections closed: " in narrow.log()
    finally:
        close_all(opened)


def test_a_connection_with_a_request_under_way_is_closed_last(narrow: Server) -> None:
    path = f"instances/{add_instance(narrow)}/state"
    opened: list[socket.socket] = []
    try:
        with httpx.Client(timeout=30) as http:
            stream = http.send(narrow.signed("GET", path, Accept="text/event-stream"), stream=True)
            assert stream.status_code == 200
            chunks = stream.iter_raw()
            next(chunks)
            opened += [connect(narrow.port) for _ in range(60)]
            until(lambda: sum(map(is_closed, opened)) >= 41, "connections beyond the limit stay open")
            assert narrow.call("PUT", path.removesuffix("/state"), {"name": "another"})[0] == 204
            assert b"another" in next(chunks)
            stream.close()
    finally:
        close_all(opened)


def test_silent_connections_of_many_addresses_keep_nobody_out(tmp_path: Path) -> None:
    """The server takes 300 connections, the least it takes with 600 files."""
    opened: list[socket.socket] = []
    with running(tmp_path, files=600) as server:
        try:
            for number in range(2, 12):
                opened += [connect(server.port, f"127.0.0.{number}") for _ in range(40)]
            until(lambda: answers(server), "nobody is served")
            until(lambda: connections(server) <= 300, "too many connections are open")
        finally:
            close_all(opened)


def test_a_half_sent_body_of_an_unknown_sender_does_not_delay_the_end(own_server: Server) -> None:
    head = b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
    signed = own_server.signed("POST", "instances", {"name": "x" * 100})
    raw = b"".join(name + b": " + value + b"\r\n" for name, value in signed.headers.raw)
    opened = [connect(own_server.port) for _ in range(4)]
    try:
        opened[0].sendall(head % b"/v3/auth/tokens")
        opened[1].sendall(head % signed.url.raw_path)
        opened[2].sendall(b"POST %b HTTP/1.1\r\n%b\r\n{" % (signed.url.raw_path, raw))
        Http2(opened[3]).get("/console")
        assert own_server.call("GET", "instances")[0] == 200
        assert own_server.stop() == 0
        until(lambda: all(map(is_closed, opened)), "connections outlive the server")
    finally:
        close_all(opened)
    log = own_server.log()
    assert "were not over" not in log, "it did not wait for them"
    for trace in ("Traceback", "CancelledError", "InvalidStateError"):
        assert trace not in log


def test_a_half_sent_body_of_a_known_sender_ends_without_a_trace(own_server: Server) -> None:
    path = f"/v2/{own_server.credentials['project_id']}/instances"
    lines = f"Host: x\r\nX-Auth-Token: {add_token(own_server)}\r\nContent-Type: application/json\r\n"
    with connect(own_server.port) as connection:
        connection.sendall(f"POST {path} HTTP/1.1\r\n{lines}Content-Length: 30000\r\n\r\n{{".encode())
        assert own_server.call("GET", "instances")[0] == 200
        assert own_server.stop() == 0
    for trace in ("Traceback", "CancelledError", "InvalidStateError"):
        assert trace not in own_server.log()


def test_the_server_ends_whatever_strangers_do(own_server: Server) -> None:
    """Silent connections, unfinished heads and a TLS hello on a plain port."""
    opened = [connect(own_server.port) for _ in range(30)]
    try:
        for number, connection in enumerate(opened):
            connection.sendall((b"", GET[:10], b"\x16\x03\x01")[number % 3])
        assert own_server.call("GET", "instances")[0] == 200
        assert own_server.stop() == 0
    finally:
        close_all(opened)
    assert "Traceback" not in own_server.log()
    assert "were not over" not in own_server.log()


def test_looking_at_sockets_drops_no_lock_on_a_file(tmp_path: Path) -> None:
    """The first closing of any copy of a file would, and the database relies on such locks."""
    file = tmp_path / "locked"
    watch = ConnectionWatch(Connections(), RequestLimits(), port=1, most=1, count_closed=lambda _reason, _count: None)
    with file.open("w") as opened, socket.socket():
        fcntl.lockf(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        watch.close_all()
        other = "import fcntl, sys; fcntl.lockf(open(sys.argv[1], 'w'), fcntl.LOCK_EX | fcntl.LOCK_NB)"
        tried = subprocess.run([sys.executable, "-c", other, file], capture_output=True, text=True, check=False)
    assert "BlockingIOError" in tried.stderr


LIMITS = RequestLimits(connections_per_address=3, first_request_seconds=5, idle_seconds=10)
MANY = 1000


def test_what_is_closed_is_decided_by_time_and_use() -> None:
    now = 100.0
    known = [
        Connection(1, "a", opened=94),
        Connection(2, "b", opened=96),
        Connection(3, "c", opened=10, last=89),
        Connection(4, "d", opened=10, last=91),
        Connection(5, "e", opened=10, last=10, under_way=1),
        Connection(6, "f", opened=10, last=10, under_way=1, identified=1),
    ]
    assert to_close(known, LIMITS, MANY, now) == {1: NO_REQUEST, 3: IDLE}


def test_of_one_address_idle_ones_are_closed_first_then_unknown_ones() -> None:
    now = 100.0
    idle = [Connection(number, "a", opened=99, last=90 + number) for number in range(2)]
    unknown = [Connection(10 + number, "a", opened=90 + number, last=90, under_way=1) for number in range(2)]
    known = [Connection(20 + number, "a", opened=90 + number, last=90, under_way=1, identified=1) for number in (0, 1)]
    everyone = [*known, *unknown, *idle, Connection(30, "b", opened=99)]
    assert set(to_close(everyone, LIMITS, MANY, now)) == {0, 1, 10}
    assert set(to_close(everyone, LIMITS, MANY, now).values()) == {TOO_MANY_OF_ADDRESS}
    alone = [Connection(number, "a", opened=90 + number, last=90, under_way=1, identified=1) for number in range(5)]
    assert set(to_close(alone, LIMITS, MANY, now)) == {3, 4}, "the newest"


def test_of_all_connections_none_with_a_known_sender_is_closed_for_others() -> None:
    known = [Connection(number, str(number), opened=90, last=90, under_way=1, identified=1) for number in range(9)]
    silent = [Connection(100 + number, str(number), opened=99) for number in range(9)]
    assert to_close([*known, *silent], LIMITS, most=10, now=100.0) == {100 + number: TOO_MANY for number in range(9)}


def test_at_the_end_known_senders_and_fresh_answers_are_kept() -> None:
    now = 100.0
    known = [
        Connection(1, "a", opened=90),
        Connection(2, "a", opened=90, last=99.9, under_way=1),
        Connection(3, "a", opened=90, last=91, under_way=1, identified=1),
        Connection(4, "a", opened=90, last=99.9),
        Connection(5, "a", opened=90, last=99),
    ]
    assert set(to_close_at_end(known, now)) == {1, 2, 5}


def test_a_network_of_ipv6_counts_as_one_address() -> None:
    assert network("2001:db8::1") == network("2001:db8::ffff:1") == "2001:db8::/64"
    assert network("2001:db8:0:1::1") != network("2001:db8::1")
    assert network("::ffff:192.0.2.1") != network("::ffff:192.0.2.2")
    assert network("192.0.2.1") == "192.0.2.1"


def test_counts_of_closed_connections_are_dropped() -> None:
    counted = Connections()
    open_one, closed_one, busy = ("a", "1"), ("a", "2"), ("a", "3")
    for client in (open_one, closed_one, busy):
        request = counted.begin(client, 1.0)
        if client != busy:
            counted.end(request, identified=False)
    counted.forget({open_one}, before=time.perf_counter() + 1)
    assert [counted.of(client) is not None for client in (open_one, closed_one, busy)] == [True, False, True]
