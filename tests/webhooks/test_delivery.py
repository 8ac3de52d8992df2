"""Events reach real receivers over real HTTP, from a real database, through a real DBOS."""

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cachewright.clock import now_ms
from cachewright.store import webhook_events, webhooks
from cachewright.webhooks import delivery as module
from database_fixtures import a_task
from receiver import Receiver
from webhook_fixtures import PATIENCE_SECONDS, SECRET, Post


@pytest.fixture
def post(tmp_path: Path) -> Iterator[Post]:
    working = Post(tmp_path)
    yield working
    working.close()


@pytest.fixture
def receivers() -> Iterator[Callable[..., Receiver]]:
    opened: list[Receiver] = []

    def open_one(port: int = 0) -> Receiver:
        opened.append(Receiver(port))
        return opened[-1]

    yield open_one
    for receiver in opened:
        receiver.close()


def test_an_event_arrives_signed_and_once(post: Post, receivers: Callable[..., Receiver]) -> None:
    receiver = receivers()
    sent = post.send(post.webhook(receiver.url))
    done = post.over(sent)
    assert (done.status, done.attempts, done.http_status, done.next_try_at) == ("DELIVERED", 1, 204, None)
    (event,) = receiver.events(SECRET)
    assert (event["id"], event["type"]) == (sent, "io.cachewright.webhook.test")
    (headers, body), *_ = receiver.received
    assert headers["webhook-id"] == sent
    assert headers["content-type"].startswith("application/cloudevents+json")
    assert body.decode() == done.body


def test_a_receiver_that_was_away_is_told_later(post: Post, receivers: Callable[..., Receiver]) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    before = now_ms()
    sent = post.send(post.webhook(f"http://127.0.0.1:{port}/hook"))
    failed = post.until(sent, lambda delivery: delivery.attempts == 1)
    assert (failed.status, failed.http_status) == ("WAITING", None)
    assert failed.error.startswith("ConnectError")
    assert failed.next_try_at
    assert before + 1.6 * 1000 <= failed.next_try_at <= now_ms() + 2.4 * 1000
    receiver = receivers(port)
    assert post.over(sent).status == "DELIVERED"
    assert [event["id"] for event in receiver.events(SECRET)] == [sent]


def test_an_answer_that_is_no_success_is_tried_again(post: Post, receivers: Callable[..., Receiver]) -> None:
    receiver = receivers()
    answers = iter([500, 204])
    receiver.answer = lambda: next(answers)
    sent = post.send(post.webhook(receiver.url))
    assert post.until(sent, lambda delivery: delivery.attempts == 1).http_status == 500
    assert (post.over(sent).status, len(receiver.received)) == ("DELIVERED", 2)
    assert {headers["webhook-id"] for headers, _ in receiver.received} == {sent}


def test_it_is_given_up_in_the_end(
    post: Post, receivers: Callable[..., Receiver], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "DELAYS_SECONDS", (0.05, 0.05))
    receiver = receivers()
    receiver.answer = lambda: 503
    done = post.over(post.send(post.webhook(receiver.url)))
    assert (done.status, done.attempts, done.http_status, len(receiver.received)) == ("FAILED", 3, 503, 3)


def test_a_test_event_is_given_up_earlier(
    post: Post, receivers: Callable[..., Receiver], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The project may send only a few of them while others wait."""
    monkeypatch.setattr(module, "DELAYS_SECONDS", (0.05,) * 4)
    receiver = receivers()
    receiver.answer = lambda: 503
    hook = post.webhook(receiver.url)
    with post.database.write() as connection:
        of_task = webhooks.send(connection, hook, webhook_events.of_task(a_task()), now_ms()).id
    of_test = post.send(hook)
    assert (post.over(of_test).status, post.over(of_test).attempts) == ("FAILED", 3)
    assert (post.over(of_task).status, post.over(of_task).attempts) == ("FAILED", 5)


def test_a_receiver_that_is_gone_is_told_nothing_more(post: Post, receivers: Callable[..., Receiver]) -> None:
    receiver = receivers()
    receiver.answer = lambda: 410
    hook = post.webhook(receiver.url)
    assert post.over(post.send(hook)).status == "FAILED"
    later = post.over(post.send(hook))
    assert (later.status, later.error, len(receiver.received)) == ("FAILED", "the webhook is disabled", 1)
    with post.database.read() as connection:
        found = webhooks.get(connection, hook)
    assert found
    assert not found.enabled


def test_a_redirect_is_not_followed(post: Post, receivers: Callable[..., Receiver]) -> None:
    receiver, elsewhere = receivers(), receivers()
    receiver.answer, receiver.location = (lambda: 302), elsewhere.url
    sent = post.send(post.webhook(receiver.url))
    assert post.until(sent, lambda delivery: delivery.attempts == 1).http_status == 302
    assert elsewhere.received == []


def test_a_receiver_that_hangs_delays_nobody_else(post: Post, receivers: Callable[..., Receiver]) -> None:
    slow, quick = receivers(), receivers()
    released = threading.Event()

    def hang() -> int:
        released.wait(PATIENCE_SECONDS)
        return 204

    slow.answer = hang
    waiting = [post.send(post.webhook(slow.url)) for _ in range(2)]
    assert post.over(post.send(post.webhook(quick.url))).status == "DELIVERED"
    assert {post.until(sent, lambda _: True).status for sent in waiting} == {"WAITING"}
    released.set()
    assert {post.over(sent).status for sent in waiting} == {"DELIVERED"}


def test_a_webhook_that_is_deleted_in_between_ends_its_deliveries(
    post: Post, receivers: Callable[..., Receiver]
) -> None:
    receiver = receivers()
    hooks: list[Any] = [post.webhook(receiver.url) for _ in range(2)]
    with post.database.write() as connection:
        now = now_ms()
        webhooks.send(connection, hooks[0], webhook_events.of_test("p", hooks[0], now), now)
        webhooks.remove(connection, hooks[0])
    assert post.over(post.send(hooks[1])).status == "DELIVERED"
    assert len(receiver.received) == 1
