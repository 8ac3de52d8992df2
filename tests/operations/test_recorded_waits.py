"""Pauses, ceilings, frozen nodes and the end of the server in mid-move: the record says since when and why nothing
moves, and the waits are no part of the work."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from typing import Any

import msgspec
import pytest

from busy_nodes import control as operator
from busy_nodes import folder_id
from caches import cache, load, present
from cachewright.model.tasks import Step, SubStep
from sdk_calls import created, ended, held_in_migration, newest_task, progress, resize, show
from serving import Server, freeze, thaw, until

KEYS = 60_000
SECONDS = 3.0


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Any, str]]:
    server = Server(tmp_path_factory.mktemp("waits") / "data")
    try:
        server.start()
        yield server, *filled(server)
    finally:
        server.clean_up()


@pytest.fixture
def two_shards(shared: tuple[Server, Any, str]) -> tuple[Server, Any, str]:
    _, client, instance_id = shared
    if show(client, instance_id).sharding_count != 2:
        assert ended(client, instance_id, resize(client, instance_id, 2)).status == "SUCCESS"
    return shared


def filled(server: Server) -> tuple[Any, str]:
    client = server.client()
    instance_id = created(client, 2)
    load(cache(client, instance_id), KEYS, 400)
    return client, instance_id


def record(server: Server, task_id: str) -> Any:
    status, body = server.call("GET", f"tasks/{task_id}")
    assert status == 200
    return body


def control(server: Server, instance_id: str, task_id: str, **settings: Any) -> None:
    assert server.call("PUT", f"instances/{instance_id}/tasks/{task_id}/control", settings)[0] == 200


def waiting(server: Server, task_id: str, cause: str) -> Any:
    """Wait until a sub-step waits for this cause. Return its row of `waiting`."""
    return until(
        lambda: next((wait for wait in record(server, task_id)["waiting"] if wait["cause"] == cause), None),
        f"no sub-step waits for {cause!r}",
    )


def sub_steps(server: Server, task_id: str) -> dict[str, SubStep]:
    """The stored sub-steps, by id."""
    with closing(sqlite3.connect(server.data_dir / "cachewright.db")) as connection:
        (steps,) = connection.execute("SELECT steps FROM tasks WHERE id = ?", (task_id,)).fetchone()
    decoded = msgspec.json.decode(steps, type=tuple[Step, ...])
    return {sub_step.id: sub_step for step in decoded for sub_step in step.sub_steps}


def details(client: Any, instance_id: str, task_id: str) -> list[str]:
    steps = progress(client, instance_id, task_id).step_details
    return [sub_step.detail for step in steps for sub_step in step.sub_step_details or []]


def require_success(server: Server, client: Any, instance_id: str, task_id: str) -> None:
    row = ended(client, instance_id, task_id, seconds=150)
    assert row.status == "SUCCESS", (row, server.log()[-3000:])
    assert record(server, task_id)["waiting"] == []
    assert not [detail for detail in details(client, instance_id, task_id) if "status:" in detail]
    assert all(sub_step.waiting is None for sub_step in sub_steps(server, task_id).values())
    assert present(cache(client, instance_id), KEYS) == KEYS


def milliseconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp() * 1000


def test_a_pause_in_mid_move_is_a_wait(two_shards: tuple[Server, Any, str]) -> None:
    server, client, instance_id = two_shards
    task_id = held_in_migration(server, client, instance_id, 3, parallel=1)
    held = waiting(server, task_id, "the latency ceiling")
    control(server, instance_id, task_id, state="paused", parallel=1)
    paused = waiting(server, task_id, "paused")
    assert paused["sub_step"] == held["sub_step"]
    assert paused["since"] > held["since"]
    until(lambda: "status:paused" in "".join(details(client, instance_id, task_id)), "no detail says so")
    time.sleep(SECONDS)
    assert waiting(server, task_id, "paused") == paused
    seen = record(server, task_id)
    assert seen["heartbeat"]
    assert seen["remain_seconds"] > 0
    before = milliseconds(paused["since"]) - milliseconds(held["since"])
    control(server, instance_id, task_id, state="running", parallel=1)
    until(
        lambda: not record(server, task_id)["waiting"] or newest_task(client, instance_id).status == "SUCCESS",
        "the pause does not end",
    )
    require_success(server, client, instance_id, task_id)
    waited = sub_steps(server, task_id)[paused["sub_step"]]
    assert waited.waited_ms >= before + SECONDS * 1000
    assert waited.begin_time is not None
    assert waited.end_time is not None
    assert waited.waited_ms <= waited.end_time - waited.begin_time
    assert record(server, task_id)["heartbeat"] > seen["heartbeat"]


@pytest.mark.parametrize("mode", ["balanced", "gentle"])
@pytest.mark.parametrize("who", ["source", "target"])
def test_a_node_that_does_not_answer_is_named(two_shards: tuple[Server, Any, str], who: str, mode: str) -> None:
    server, client, instance_id = two_shards
    before = {folder_id(node) for node in server.nodes()}
    task_id = held_in_migration(server, client, instance_id, 3, mode=mode)
    source = next(
        detail.partition("node_id:")[2].partition(",")[0]
        for detail in details(client, instance_id, task_id)
        if "slot_range:" in detail
    )
    struck = next(
        node
        for node in server.nodes()
        if (folder_id(node) == source if who == "source" else folder_id(node) not in before)
    )
    node_id = folder_id(struck)
    freeze(struck)
    try:
        control(server, instance_id, task_id, state="running", mode=mode)
        wait = waiting(server, task_id, f"node {node_id} does not answer")
        until(
            lambda: f"status:node {node_id} does not answer" in "".join(details(client, instance_id, task_id)),
            "no detail names the node",
        )
    finally:
        thaw(struck)
    require_success(server, client, instance_id, task_id)
    assert sub_steps(server, task_id)[wait["sub_step"]].waited_ms >= 1000


def test_the_time_without_a_server_is_a_wait(own_server: Server) -> None:
    client, instance_id = filled(own_server)
    for node_id in map(folder_id, own_server.nodes()):
        with operator(own_server, node_id) as node:
            node.config_set("rdb-key-save-delay", 500)  # the move takes seconds
    task_id = held_in_migration(own_server, client, instance_id, 3)
    held = waiting(own_server, task_id, "the latency ceiling")["sub_step"]
    control(own_server, instance_id, task_id, state="running")
    until(lambda: sub_steps(own_server, task_id)[held].waiting is None, "the ceiling still holds")
    own_server.kill()
    moving = sub_steps(own_server, task_id)[held]
    assert moving.status == "EXECUTING"
    time.sleep(SECONDS)
    own_server.start()
    client = own_server.client()
    require_success(own_server, client, instance_id, task_id)
    resumed = sub_steps(own_server, task_id)[held]
    assert resumed.begin_time == moving.begin_time
    assert resumed.waited_ms >= moving.waited_ms + SECONDS * 1000
