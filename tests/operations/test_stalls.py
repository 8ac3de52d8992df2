"""A migration that stands still while both its nodes answer: the snapshot's own process is frozen."""

import time
from contextlib import suppress
from typing import Any

import psutil
import pytest

from serving import Server, cache, created, ended, freeze, load, present, progress, resize, show, states, thaw, until

KEYS = 150_000


@pytest.fixture
def stalled(own_server: Server) -> tuple[Server, Any, str, str, psutil.Process]:
    """A scale whose source's snapshot stands still."""
    client = own_server.client()
    instance_id = created(client, 1)
    caches = cache(client, instance_id)
    load(caches, KEYS, 400)
    source = own_server.nodes()[0]
    task_id = resize(client, instance_id, 2)
    snapshot = until(lambda: frozen_child(source), "no snapshot was frozen")
    return own_server, client, instance_id, task_id, snapshot


def frozen_child(source: psutil.Process) -> psutil.Process | None:
    """One that is over, but not yet reaped, can be sent the signal as well; it does not stop."""
    for child in source.children():
        with suppress(ProcessLookupError, psutil.NoSuchProcess):
            freeze(child)
            if child.status() == psutil.STATUS_STOPPED:
                return child
    return None


def require_all_there(server: Server, client: Any, instance_id: str) -> None:
    assert show(client, instance_id).status == "RUNNING"
    caches = cache(client, instance_id)
    assert states(caches) == {"ok"}
    assert present(caches, KEYS) == KEYS
    assert len(server.nodes()) == 2


def test_a_stall_freezes_the_percent_raises_the_seconds_and_is_logged(
    stalled: tuple[Server, Any, str, str, psutil.Process],
) -> None:
    server, client, instance_id, task_id, snapshot = stalled
    time.sleep(1)  # counters under way when it was frozen
    first = progress(client, instance_id, task_id)
    until(lambda: "no progress for 10 s" in server.log(), "the stall is not logged")
    later = progress(client, instance_id, task_id)
    assert later.progress == first.progress
    assert later.remain_time > first.remain_time
    thaw(snapshot)
    assert ended(client, instance_id, task_id).status == "SUCCESS"
    require_all_there(server, client, instance_id)


@pytest.mark.chaos  # for its length
def test_a_stall_that_does_not_end_is_given_up_and_tried_again(
    stalled: tuple[Server, Any, str, str, psutil.Process],
) -> None:
    server, client, instance_id, task_id, snapshot = stalled
    until(lambda: "reason:no progress for 60 s" in server.log(), "the stall is not given up", seconds=90)
    thaw(snapshot)
    assert ended(client, instance_id, task_id, seconds=60).status == "SUCCESS"
    require_all_there(server, client, instance_id)
