"""Webhooks of a real server: events of a creation, and of changes while the server was down."""

from collections.abc import Iterator
from typing import Any

import pytest

from receiver import Receiver
from sdk_calls import created, ended, newest_task
from serving import Server, until

WHOLE_STORY = ["waiting", "executing", "succeeded"]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    opened = Receiver()
    yield opened
    opened.close()


def hooked(server: Server, url: str) -> str:
    status, made = server.call("POST", "webhooks", {"url": url})
    assert status == 200
    return str(made["secret"])


def told(receiver: Receiver, secret: str, task_id: str) -> list[str]:
    """What happened to the task, each once, by the time at which it happened."""
    mine = {event["id"]: event for event in receiver.events(secret) if event["subject"] == task_id}
    by_time = sorted(mine.values(), key=lambda event: event["time"])
    return [event["type"].rpartition(".")[2] for event in by_time]


def test_a_receiver_hears_the_whole_story_of_a_creation(own_server: Server, receiver: Receiver) -> None:
    secret = hooked(own_server, receiver.url)
    client = own_server.client()
    instance_id = created(client)
    task: Any = newest_task(client, instance_id)
    until(lambda: told(receiver, secret, task.id) == WHOLE_STORY, "the receiver was not told")
    last = next(event for event in receiver.events(secret) if event["type"].endswith("succeeded"))
    assert last["source"] == f"/v2/{own_server.credentials['project_id']}/instances/{instance_id}"
    assert (last["data"]["name"], last["data"]["status"]) == (task.name, "SUCCESS")


def test_nothing_is_lost_when_the_server_is_killed_before_it_has_told(own_server: Server) -> None:
    away = Receiver()
    away.close()
    secret = hooked(own_server, away.url)
    client = own_server.client()
    instance_id = created(client)
    task_id = newest_task(client, instance_id).id
    assert ended(client, instance_id, task_id).status == "SUCCESS"
    own_server.kill()
    back = Receiver(away.port)
    try:
        own_server.start()
        until(lambda: told(back, secret, task_id) == WHOLE_STORY, "the receiver was not told")
    finally:
        back.close()
