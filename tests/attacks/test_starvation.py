"""One project cannot take from the others what they need: threads, supervision, the measuring of nodes."""

import json
import os
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
from huaweicloudsdkdcs.v2 import ListInstancesRequest

from sdk_calls import created
from serving import Server, freeze, thaw, until

CALLS = 120
PROMPTLY_SECONDS = 30
"""On a machine that others use as well. Threads that wait for frozen nodes would take 40 s for as many calls."""


@pytest.fixture
def shop(own_server: Server) -> Any:
    """A client of another project."""
    for words in (
        ("projects", "create", "shop"),
        ("users", "create", "alice", "--role", "operator", "--project", "shop"),
    ):
        _administer(own_server, *words)
    key = json.loads(_administer(own_server, "keys", "create", "alice"))
    return own_server.client(**{name: key[name] for name in ("access_key", "secret_key", "project_id")})


def _administer(server: Server, *words: str) -> str:
    command = [sys.executable, "-m", "cachewright", *words, "--data-dir", str(server.data_dir)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


def folders(server: Server, instance_id: str) -> list[Path]:
    """One for each node of the instance."""
    with closing(sqlite3.connect(server.data_dir / "cachewright.db")) as database:
        rows = database.execute("SELECT id FROM nodes WHERE instance_id=?", [instance_id]).fetchall()
    return [server.data_dir / "nodes" / node_id for (node_id,) in rows]


def processes(server: Server, instance_id: str) -> list[psutil.Process]:
    """Living nodes of the instance."""
    names = [folder.name for folder in folders(server, instance_id)]
    return [node for node in server.nodes() if any(name in word for name in names for word in node.info["cmdline"])]


@contextmanager
def frozen(nodes: list[psutil.Process]) -> Iterator[None]:
    for node in nodes:
        freeze(node)
    try:
        yield
    finally:
        for node in nodes:
            thaw(node)


@contextmanager
def calling(server: Server, path: str, times: int) -> Iterator[list[Future[httpx.Response]]]:
    """Make this number of concurrent calls."""
    limits = httpx.Limits(max_connections=times)
    with httpx.Client(limits=limits, timeout=120, verify=False) as http, ThreadPoolExecutor(times) as threads:  # noqa: S501  # plain HTTP
        yield [threads.submit(http.send, server.signed("GET", path)) for _ in range(times)]


def test_frozen_nodes_of_one_project_stop_nothing_of_another(own_server: Server, shop: Any) -> None:
    instance_id, others = created(own_server.client(), 3), created(shop, 1)
    (before,) = processes(own_server, others)
    with frozen(processes(own_server, instance_id)), calling(own_server, "instances/statistic", CALLS) as calls:
        until(lambda: any(call.running() for call in calls), "nothing is called")
        begun = time.monotonic()
        before.kill()
        assert len(shop.list_instances(ListInstancesRequest()).instances) == 1
        until(lambda: restarted(own_server, others, before), "the node is not started again", PROMPTLY_SECONDS)
        assert time.monotonic() - begun < PROMPTLY_SECONDS
        answers = [call.result() for call in calls]
    assert {answer.status_code for answer in answers} <= {200, 503}
    refused = [answer for answer in answers if answer.status_code == 503]
    assert refused, "all of them waited"
    assert {answer.json()["error_code"] for answer in refused} == {"DCS.4974"}
    assert all(int(answer.headers["retry-after"]) > 0 for answer in refused)
    shown = [answer for answer in answers if answer.status_code == 200]
    assert all(answer.json()["statistics"][0]["keys"] is None for answer in shown)


def restarted(server: Server, instance_id: str, before: psutil.Process) -> bool:
    return [node.pid for node in processes(server, instance_id)] not in ([], [before.pid])


LEFT = {
    "configs": "list_configurations",
    "logical-nodes": "show_nodes_information",
    "state": "show_instance_state",
    "resize/plan": "plan_resize",
}
"""Requests below an instance, with the name of their operation in the metrics."""


def test_a_client_that_has_gone_leaves_nothing_running(own_server: Server) -> None:
    instance_id = created(own_server.client(), 1)
    with frozen(processes(own_server, instance_id)):
        for path, operation in LEFT.items():
            body = {"spec_code": "redis.cluster.xu1.large.r1.s1.2"} if path == "resize/plan" else None
            method = "POST" if body else "GET"
            request = own_server.signed(method, f"instances/{instance_id}/{path}", body)
            count = f'count{{method="{method}",operation="{operation}",status="408"}} '
            until(
                lambda asked=request, line=count: has_ended_early(own_server, asked, line),
                f"{path} goes on without its client",
            )


def has_ended_early(server: Server, request: httpx.Request, count: str) -> bool:
    """Whether the server has counted such a request. It may not have begun with one that was sent a moment before."""
    send_and_go(request)
    return f"cachewright_http_request_duration_seconds_{count}" in server.metrics()


def send_and_go(request: httpx.Request) -> None:
    """Closes the connection without waiting for the answer."""
    where = urlsplit(str(request.url))
    headers = (f"{name}: {value}" for name, value in request.headers.items())
    lines = [f"{request.method} {where.path} HTTP/1.1", *headers]
    with socket.create_connection((where.hostname, where.port)) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode() + request.content)
        time.sleep(0.3)


NONSENSE = {
    "text": b"$5\r\nhello\r\n",
    "numbers": b"$30\r\nrole:master\r\nused_memory:1e999\r\n",
    "list": b"*2\r\n$1\r\na\r\n:1\r\n",
    "no protocol": b"\xff\xfe what?\r\n",
    "endless": b"$500000000\r\n",
}


@contextmanager
def answering(folder: Path, answer: bytes, endless: bytes = b"") -> Iterator[None]:
    """Someone answers in place of the node that has this folder: every command with `answer`, and goes on."""
    real, away = folder / "valkey.sock", folder / "away.sock"
    real.rename(away)
    over = threading.Event()

    def serve(listener: socket.socket) -> None:
        while not over.is_set():
            with suppress(OSError):
                connection, _ = listener.accept()
                threading.Thread(target=reply, args=(connection,), daemon=True).start()

    def reply(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.settimeout(5)
            connection.recv(65536)
            connection.sendall(b"+OK\r\n+OK\r\n" + answer * 5)
            while endless and not over.is_set():
                connection.sendall(endless)
            connection.recv(1)

    with socket.socket(socket.AF_UNIX) as listener:
        descriptor = os.open(folder, os.O_PATH)  # the path itself is too long for a socket
        listener.bind(f"/proc/self/fd/{descriptor}/{real.name}")
        os.close(descriptor)
        listener.listen(100)
        listener.settimeout(0.2)
        server = threading.Thread(target=serve, args=(listener,), daemon=True)
        server.start()
        try:
            yield
        finally:
            over.set()
            server.join()
            away.replace(real)


def test_a_node_that_answers_nonsense_is_one_that_does_not_answer(own_server: Server) -> None:
    """And every other one is measured on, and the server neither stumbles nor reads without end."""
    client = own_server.client()
    instance_id, other = created(client, 1, name="cache-one"), created(client, 1, name="cache-two")
    (folder,) = folders(own_server, instance_id)
    assert own_server.process is not None
    process = psutil.Process(own_server.process.pid)
    until(lambda: samples(own_server, other), "nothing is measured")
    memory = process.memory_info().rss
    for name, answer in NONSENSE.items():
        with answering(folder, answer, b"x" * 65536 if name == "endless" else b""):
            before = samples(own_server, other)
            status, live = own_server.call("GET", f"instances/{instance_id}/state")
            assert (status, live["shards"][0]["nodes"][0]["status"]) == (200, "Inactive"), name
            status, listed = own_server.call("GET", "instances/statistic")
            assert status == 200, name
            of_both = {row["instance_id"]: row["keys"] for row in listed["statistics"]}
            assert of_both[instance_id] is None, name
            assert of_both[other] == 0, name
            assert own_server.call("GET", f"instances/{instance_id}/configs")[0] == 400, name
            assert own_server.call("GET", f"instances/{instance_id}/logical-nodes")[0] == 200, name
            until(lambda known=before: samples(own_server, other) > known, f"{name}: nothing is measured any more")
    assert "unexpected error" not in own_server.log()
    assert "Traceback" not in own_server.log()
    assert process.memory_info().rss < memory + 100 * 2**20


def samples(server: Server, instance_id: str) -> int:
    return len(server.call("GET", f"instances/{instance_id}/statistics")[1]["samples"])
