"""A project's webhooks delay no other project's, fill no queue, and look into no network that is not theirs."""

import json
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from cachewright.model.webhooks import Delivery
from cachewright.store import webhooks
from receiver import Receiver
from serving import COMMAND, Server, until
from webhook_fixtures import Post

WEBHOOKS = 10
"""A project has at most that many."""

TESTS = 5
NEVER = [
    "http://169.254.169.254/latest/meta-data",
    "http://2852039166/",
    "http://0xa9.0xfe.0xa9fe/",
    "http://[fe80::1]/",
    "http://[::ffff:169.254.169.254]/",
    "http://[64:ff9b::a9fe:a9fe]/",
    "http://100.100.100.200/",
    "http://0.0.0.0:8765/",
    "http://0/",
    "http://[::]/",
    "http://224.0.0.1/",
    "http://255.255.255.255/",
]
PRIVATE = [
    "http://127.0.0.1:9/",
    "http://2130706433:9/",
    "http://0x7f.1:9/",
    "http://0177.1:9/",
    "http://[::1]:9/",
    "http://[::ffff:127.0.0.1]:9/",
    "http://10.0.0.1/",
    "http://192.168.1.1/",
    "http://172.16.0.1/",
    "http://100.64.0.1/",
    "http://[fd00::1]/",
]


class SlowReceiver(Receiver):
    """Answers nothing until it is released."""

    def __init__(self) -> None:
        super().__init__()
        self.released = threading.Event()
        self.in_flight = 0
        self.most_in_flight = 0
        self._counting = threading.Lock()
        self.answer = self._wait

    def _wait(self) -> int:
        with self._counting:
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
        self.released.wait(60)
        with self._counting:
            self.in_flight -= 1
        return 204

    def close(self) -> None:
        self.released.set()
        super().close()


@pytest.fixture
def slow() -> Iterator[SlowReceiver]:
    opened = SlowReceiver()
    yield opened
    opened.close()


@pytest.fixture
def quick() -> Iterator[Receiver]:
    with Receiver() as opened:
        yield opened


@pytest.fixture
def post(tmp_path: Path) -> Iterator[Post]:
    working = Post(tmp_path)
    yield working
    working.close()


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Server]:
    """A server that sends nothing to private addresses."""
    started = Server(tmp_path / "data", (*COMMAND, "--no-webhooks-to-private"))
    try:
        started.start()
        yield started
    finally:
        started.clean_up()


class Project(Server):
    """Another project of a running server, for calls by its own admin."""

    def __init__(self, server: Server, name: str) -> None:
        super().__init__(server.data_dir)
        _run(server, "projects", "create", name)
        _run(server, "users", "create", f"{name}-admin", "--role", "admin", "--project", name)
        self._credentials = server.credentials | json.loads(_run(server, "keys", "create", f"{name}-admin"))

    @property
    def credentials(self) -> dict[str, str]:
        return self._credentials


def _run(server: Server, *words: str) -> str:
    command = [sys.executable, "-m", "cachewright", *words, "--data-dir", str(server.data_dir)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


def added(call: Callable[..., tuple[int, Any]], url: str) -> str:
    status, made = call("POST", "webhooks", {"url": url})
    assert status == 200, made
    return str(made["id"])


def tried(call: Callable[..., tuple[int, Any]], webhook_id: str) -> None:
    status, sent = call("POST", f"webhooks/{webhook_id}/test")
    assert status == 200, sent


def deliveries(call: Callable[..., tuple[int, Any]], webhook_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = call("GET", f"webhooks/{webhook_id}/deliveries")[1]["deliveries"]
    return found


def test_slow_receivers_of_one_project_do_not_delay_another(
    own_server: Server, slow: SlowReceiver, quick: Receiver
) -> None:
    shop = Project(own_server, "shop")
    waiting = [added(shop.call, slow.url) for _ in range(WEBHOOKS)]
    other = added(own_server.call, quick.url)
    for webhook_id in waiting:
        tried(shop.call, webhook_id)
    until(lambda: slow.in_flight == WEBHOOKS, "not all slow receivers were called at the same time")
    tried(own_server.call, other)
    until(lambda: quick.received, "the other project's event did not arrive")
    first_attempts = [delivery["attempts"] for hook in waiting for delivery in deliveries(shop.call, hook)]
    assert first_attempts == [0] * WEBHOOKS, "the event arrived only after a slow request had ended"


def test_webhooks_that_are_deleted_and_created_again_take_no_more_than_their_share(
    post: Post, slow: SlowReceiver, quick: Receiver
) -> None:
    """Requests to deleted webhooks are still in flight."""
    for _ in range(3):
        hooks = [post.webhook(slow.url, "shop") for _ in range(4)]
        for hook in hooks:
            post.send(hook)
        until(lambda: slow.in_flight == 4, "the receivers were not called")
        post.over(post.send(post.webhook(quick.url, "local")))
        with post.database.write() as connection:
            for hook in hooks:
                webhooks.remove(connection, hook)
    assert slow.most_in_flight == 4


def test_waiting_for_receivers_holds_no_thread(post: Post, slow: SlowReceiver, quick: Receiver) -> None:
    for number in range(40):
        post.send(post.webhook(slow.url, f"project-{number % 4}"))
    until(lambda: slow.in_flight == 40, "the receivers were not called at the same time")
    until(lambda: not _working_threads(), "threads wait")
    assert slow.in_flight == 40
    assert post.over(post.send(post.webhook(quick.url, "local"))).status == "DELIVERED"


def _working_threads() -> list[str]:
    """Pool threads of the deliveries and of the workflow library that wait for something else than work."""
    frames = sys._current_frames()
    named = [thread for thread in threading.enumerate() if thread.name.startswith(("dbos-executor", "webhook"))]
    stacks = (
        (thread.name, traceback.extract_stack(frames[thread.ident])) for thread in named if thread.ident in frames
    )
    return [name for name, stack in stacks if not stack[-1].filename.endswith("concurrent/futures/thread.py")]


def test_tests_of_a_webhook_that_wait_are_few(server: Server) -> None:
    webhook_id = added(server.call, "http://127.0.0.1:9/hook")
    try:
        for _ in range(TESTS):
            tried(server.call, webhook_id)
        with httpx.Client(timeout=60) as http:
            answer = http.send(server.signed("POST", f"webhooks/{webhook_id}/test"))
        assert (answer.status_code, answer.json()["error_code"]) == (429, "DCS.4962")
        assert int(answer.headers["retry-after"]) > 0
        assert len(deliveries(server.call, webhook_id)) == TESTS
    finally:
        server.call("DELETE", f"webhooks/{webhook_id}")


@pytest.mark.parametrize("url", NEVER)
def test_link_local_unspecified_and_multicast_addresses_are_refused(server: Server, url: str) -> None:
    status, answer = server.call("POST", "webhooks", {"url": url})
    assert (status, answer["error_code"]) == (400, "DCS.4062")
    assert "url" in answer["error_msg"]


def test_an_address_is_checked_when_it_is_connected_to(post: Post) -> None:
    """The webhook was stored without a check, as a name would be that resolves to this address later."""
    for url in NEVER:
        sent = post.send(post.webhook(url))
        failed = post.until(sent, lambda delivery: delivery.attempts > 0)
        assert failed.error.startswith("AddressNotAllowed"), (url, failed)


def test_without_private_addresses_none_is_sent_to(guarded: Server, quick: Receiver) -> None:
    for url in PRIVATE:
        status, answer = guarded.call("POST", "webhooks", {"url": url})
        assert (url, status, answer["error_code"]) == (url, 400, "DCS.4062")
    with Receiver() as gone:
        closed = gone.port
    hooks = [added(guarded.call, f"http://localhost:{port}/hook") for port in (quick.port, closed, guarded.port)]
    hooks.append(added(guarded.call, "http://no-such-host.invalid/"))
    for hook in hooks:
        tried(guarded.call, hook)
    until(lambda: all(deliveries(guarded.call, hook)[0]["attempts"] for hook in hooks), "nothing was tried")
    told = {(d["error"], d["http_status"]) for hook in hooks for d in deliveries(guarded.call, hook)}
    assert told == {("no HTTP response", None)}, "the result differs for open and closed ports"
    assert quick.received == []


def test_stored_webhooks_at_private_addresses_get_nothing_once_they_are_out_of_bounds(
    tmp_path: Path, quick: Receiver
) -> None:
    post = Post(tmp_path, to_private=False)
    try:
        for host in ("127.0.0.1", "2130706433", "0x7f.1", "localhost", "[::ffff:127.0.0.1]"):
            failed: Delivery = post.until(
                post.send(post.webhook(f"http://{host}:{quick.port}/hook")), lambda delivery: delivery.attempts > 0
            )
            assert (failed.error, failed.http_status) == ("no HTTP response", None)
    finally:
        post.close()
    assert quick.received == []
