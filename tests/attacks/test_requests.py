"""Requests of unknown clients: limits on memory, responses and log lines."""

import json
import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from premises import add_instance, add_token, add_user_with_key, memory_mb
from raw_http import close_all, connect

from cachewright.logs import RARELY, RepeatedRecords
from serving import COMMAND, Server, http_client, until

LARGE = 8_000_000
ATTACKERS = 16
TRACEBACK = "Traceback (most recent call last)"


def nested(name: bytes, opening: bytes, closing: bytes, depth: int) -> bytes:
    return b'{"%b":' % name + opening * depth + b"1" + closing * depth + b"}"


@pytest.mark.parametrize("depth", [40, 480, 490, 600, 900, 950, 1000, 3000])
@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
@pytest.mark.parametrize("place", [("/v3/auth/tokens", b"auth"), ("/console/session", b"name")])
def test_nested_json_is_refused(
    server: Server, place: tuple[str, bytes], opening: bytes, closing: bytes, depth: int
) -> None:
    path, name = place
    before = server.log().count(TRACEBACK)
    content = nested(name, opening, closing, depth)[: 16 * 1024]
    with http_client() as http:
        answer = http.post(
            server.credentials["endpoint"] + path, content=content, headers={"Content-Type": "application/json"}
        )
    assert answer.status_code == 400
    assert server.log().count(TRACEBACK) == before


@pytest.mark.parametrize("depth", [40, 900])
def test_nested_json_of_a_known_sender_is_refused(server: Server, depth: int) -> None:
    body: Any = 1
    for _ in range(depth):
        body = {"a": [body]} if depth < 100 else [body]
    status, answer = server.call("POST", "instances", {"name": body})
    assert (status, answer["error_code"]) == (400, "DCS.4005")
    assert "deeper" in answer["error_msg"]


def test_a_body_of_too_many_values_is_refused(server: Server) -> None:
    status, answer = server.call("POST", "instances", {"name": [[]] * 100_001})
    assert (status, answer["error_code"]) == (400, "DCS.4005")
    assert "values" in answer["error_msg"]


BODIES = [
    b'"\\ud800"',
    b'{"\\ud800": 1}',
    b'{"auth": "\\udfff"}',
    b'{"auth": ' + b"9" * 5000 + b"}",
    b'{"auth": 1e999}',
    b'{"auth": NaN}',
    b'{"auth": {"identity": {"password": {"user": {"name": "a\\u0000b", "password": "x"}}}}}',
    b"\xff\xfe{\x00}\x00",
    b"\xef\xbb\xbf{}",
    b"[]",
    b"null",
    b"",
    b'{"name": "\\u0000", "password": "x"}',
    b'{"name": "x", "password": "' + b"\\u00e9" * 1000 + b'"}',
]
HEADERS = [
    {"X-Auth-Token": b"\xff\xfe"},
    {"Authorization": b"SDK-HMAC-SHA256 Access=a, SignedHeaders=x-sdk-date, Signature=" + b"0" * 64},
    {"Authorization": b"\xff" * 100, "X-Sdk-Date": b"\xff"},
    {"Cookie": b'cachewright_session="' + b"\\377" * 2000 + b'"'},
    {"Cookie": b"cachewright_session=\xff\xfe; =; ;;"},
    {"Cookie": b"cachewright_session=a; cachewright_session=b", "X-CSRF-Token": b"\xff"},
    {"Content-Type": b"\xff/\xff; charset=\xff"},
    {"Accept": b"\xff, */*;q=\xff"},
    {"If-None-Match": b"\xff"},
    {"X-Subject-Token": b"\xff"},
    {"Sec-Fetch-Site": b"\xff"},
]


@pytest.mark.parametrize("path", ["/v3/auth/tokens", "/console/session"])
def test_no_body_of_an_unknown_sender_is_a_fault_of_the_server(server: Server, path: str) -> None:
    before = server.log().count(TRACEBACK)
    with httpx.Client(base_url=server.credentials["endpoint"], timeout=60) as http:
        statuses = [
            http.request(method, path, content=body, headers={"Content-Type": "application/json"}).status_code
            for body in BODIES
            for method in ("POST", "PUT", "DELETE")
        ]
    assert {status for status in statuses if status >= 500} == set()
    assert server.log().count(TRACEBACK) == before


@pytest.mark.parametrize(
    "target",
    [
        b"/v2/%ff/instances",
        b"/%00",
        b"/v2/p/instances?%ff=%ff&\xff",
        b"*",
        b"/console/session",
        b"/metrics",
        b"/v3/auth/tokens?x=%",
        b"http://x/v2/p/instances",
        b"x:1",
    ],
)
@pytest.mark.parametrize("method", [b"GET", b"OPTIONS", b"CONNECT", b"HEAD", b"A" * 32, b"A" * 33])
def test_no_head_of_an_unknown_sender_is_a_fault_of_the_server(server: Server, method: bytes, target: bytes) -> None:
    before = server.log().count(TRACEBACK)
    for fields in HEADERS:
        lines = b"".join(b"%b: %b\r\n" % (name.encode(), value) for name, value in fields.items())
        with connect(server.port) as connection:
            connection.sendall(b"%b %b HTTP/1.1\r\nHost: \xff\r\nConnection: close\r\n%b\r\n" % (method, target, lines))
            answer = connection.recv(65536)
        assert answer.startswith(b"HTTP/1.1 ")
        assert answer[9:10] in b"234", answer[:200]
    assert server.log().count(TRACEBACK) == before


def test_a_long_method_is_refused_and_none_becomes_a_label(server: Server) -> None:
    for method, status in (("A" * 32, 401), ("B" * 33, 400), ("C" * 6000, 400)):
        assert httpx.request(method, server.credentials["endpoint"] + "/", timeout=60).status_code == status
    with httpx.Client(base_url=server.credentials["endpoint"], timeout=60) as http:
        for number in range(50):
            http.request(f"METHOD{number}", "/")
        token = (server.data_dir / "metrics.token").read_text().strip()
        page = http.get("/metrics", headers={"Authorization": f"Bearer {token}"}).text
    methods = {part.partition('"')[0] for part in page.split('method="')[1:]}
    known = {"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"}
    assert "OTHER" in methods
    assert methods <= known | {"OTHER"}


def announced(server: Server, length: int, **fields: str) -> bytes:
    """Head of a request with a body of that length."""
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
    path = f"/v2/{server.credentials['project_id']}/instances"
    return (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n{lines}\r\n"
    ).encode()


def claim(access_key: str, at: datetime) -> dict[str, str]:
    """Headers of a signature that is wrong."""
    value = f"SDK-HMAC-SHA256 Access={access_key}, SignedHeaders=x-sdk-date, Signature={'0' * 64}"
    return {"Authorization": value, "X_Sdk_Date": f"{at:%Y%m%dT%H%M%SZ}"}


UNKNOWN: dict[str, Callable[[Server], dict[str, str]]] = {
    "nobody": lambda server: {},
    "a token that does not exist": lambda server: {"X_Auth_Token": "x" * 43},
    "a session that does not exist": lambda server: {"Cookie": "cachewright_session=x"},
    "an access key that does not exist": lambda server: claim("A" * 20, datetime.now(UTC)),
    "a signature of yesterday": lambda server: claim(
        server.credentials["access_key"], datetime.now(UTC) - timedelta(days=1)
    ),
}


@pytest.mark.parametrize("sender", UNKNOWN)
def test_a_large_body_of_an_unknown_sender_is_not_kept(own_server: Server, sender: str) -> None:
    fields = UNKNOWN[sender](own_server)
    before = memory_mb(own_server)
    opened: list[socket.socket] = []
    try:
        for _ in range(ATTACKERS):
            opened.append(connect(own_server.port))
            opened[-1].sendall(announced(own_server, LARGE + 1, **fields) + b" " * LARGE)
        assert own_server.call("GET", "instances")[0] == 200
        assert memory_mb(own_server) - before < ATTACKERS * LARGE / 1024**2 / 3
        opened[0].sendall(b" ")
        assert opened[0].recv(65536).startswith(b"HTTP/1.1 401 ")
    finally:
        close_all(opened)


def test_a_large_body_is_refused_alike_for_an_unknown_key_and_a_wrong_signature(server: Server) -> None:
    answers = []
    for access_key in ("A" * 20, server.credentials["access_key"]):
        with connect(server.port) as connection:
            connection.sendall(announced(server, LARGE, **claim(access_key, datetime.now(UTC))) + b" " * LARGE)
            head, _, body = connection.recv(65536).partition(b"\r\n\r\n")
            answers.append((head.split(b" ")[1], json.loads(body)["error_code"]))
    assert answers == [(b"401", "DCS.1001")] * 2


def test_a_large_body_of_a_known_sender_is_read(server: Server) -> None:
    body = {"name": "x" * LARGE}
    assert server.call("POST", "instances", body)[1]["error_code"] == "DCS.4010"
    with connect(server.port) as connection:
        connection.sendall(announced(server, LARGE, X_Auth_Token=add_token(server)) + b" " * LARGE)
        assert connection.recv(65536).startswith(b"HTTP/1.1 400 ")


def test_a_body_that_ends_early_is_not_acted_upon(server: Server) -> None:
    with connect(server.port) as connection:
        body = b'{"instances": []}'
        connection.sendall(announced(server, 5000, X_Auth_Token=add_token(server)) + body)
        connection.shutdown(socket.SHUT_WR)
        answer = connection.recv(65536)
    assert not answer or b"DCS.4005" in answer


@contextmanager
def running(tmp_path: Path, *words: str) -> Iterator[Server]:
    server = Server(tmp_path / "data", (*COMMAND, *words))
    try:
        server.start()
        yield server
    finally:
        server.clean_up()


def test_bodies_under_way_have_a_limit_and_their_memory_is_given_back(tmp_path: Path) -> None:
    with running(tmp_path, "--body-memory-mb", "48") as server:
        head = announced(server, LARGE + 1, X_Auth_Token=add_token(server))
        before = memory_mb(server)

        def status() -> bytes:
            with connect(server.port) as connection:
                connection.sendall(head + b" " * (LARGE + 1))
                answer = connection.recv(65536)
            assert b" 503 " not in answer or (b"DCS.4977" in answer and b"retry-after: " in answer.lower())
            return answer[9:12]

        with connect(server.port) as first:
            first.sendall(head + b" " * LARGE)
            until(lambda: status() == b"503", "a second one of the same user is refused while the first is under way")
            assert server.call("GET", "instances")[0] == 200
            assert server.call("POST", "instances", {})[1]["error_code"] == "DCS.4010", "small ones have room"
        until(lambda: status() == b"400", "the room of the first one is given back")
        for _ in range(5):  # a room is given back a moment after the answer
            until(lambda: status() == b"400", "the room of one that was answered is not given back")
        # seven large bodies have arrived; a part may stay with the allocator, and a server grows after its start, too
        until(lambda: memory_mb(server) < before + 4 * LARGE / 1024**2, "memory goes back to the system")


def test_event_streams_have_a_limit(tmp_path: Path) -> None:
    with running(tmp_path, "--streams-per-user", "2", "--streams", "3") as server, ExitStack() as streams:
        path = f"instances/{add_instance(server)}/state"
        http = streams.enter_context(httpx.Client(timeout=30))
        first = server.credentials
        other = first | add_user_with_key(server, "viewer")

        def opened(who: dict[str, str]) -> httpx.Response:
            (server.data_dir / "credentials.json").write_text(json.dumps(who))
            answer = http.send(server.signed("GET", path, Accept="text/event-stream"), stream=True)
            streams.callback(answer.close)
            return answer

        mine = [opened(first) for _ in range(3)]
        assert [answer.status_code for answer in mine] == [200, 200, 429]
        assert json.loads(mine[2].read())["error_code"] == "DCS.4976"
        assert int(mine[2].headers["retry-after"]) > 0
        assert [opened(other).status_code for _ in range(2)] == [200, 429], "three of all users"
        mine[0].close()
        until(lambda: opened(other).status_code == 200, "a place is free when a stream has ended")


def test_a_traceback_is_logged_a_few_times_and_each_failure_in_a_line(own_server: Server) -> None:
    path = f"instances/{add_instance(own_server, spec_code='no spec code')}"
    with httpx.Client(timeout=60) as http:
        answers = [http.send(own_server.signed("GET", path)) for _ in range(30)]
    assert {answer.status_code for answer in answers} == {500}
    log = own_server.log()
    assert 1 <= log.count(TRACEBACK) <= 10
    assert all(answer.headers["x-request-id"] in log for answer in answers)
    assert "its traceback is left out" in log


class _Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_what_was_left_out_of_the_log_is_counted() -> None:
    clock = _Clock()
    repeated = RepeatedRecords(clock)
    record = logging.makeLogRecord({"name": "n", "msg": "refused: %s", "args": ("100 %",), **RARELY})
    written = [repeated.filter(logging.makeLogRecord(record.__dict__)) for _ in range(100)]
    assert written.count(True) == 60
    clock.now = 61
    assert repeated.filter(record)
    assert record.getMessage() == "refused: 100 % (40 lines like this were left out before it)"
    plain = logging.makeLogRecord({"name": "n", "msg": "a node has died"})
    assert all(repeated.filter(plain) for _ in range(1000)), "lines that no client causes are all written"
