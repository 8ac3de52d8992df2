"""Scripts of clients run on nodes in each phase of a task. The task waits, says for what, and succeeds."""

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any

import psutil
import pytest
from huaweicloudsdkdcs.v2 import DeleteSingleInstanceRequest

from busy_nodes import answers_busy_soon, busy, control, folder_id, until_busy
from caches import cache, load, present, serves, states
from sdk_calls import ENDED, created, ended, gone, held_in_migration, newest_task, progress, resize, show, spec
from serving import Server, until

KEYS = 60_000
SECONDS = 300.0
"""Longer than any test takes: the tests end the scripts and the saves."""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Any, str]]:
    server = Server(tmp_path_factory.mktemp("busy") / "data")
    try:
        server.start()
        client = server.client()
        instance_id = created(client, 2)
        items = [{"param_id": "20", "param_name": "lua-time-limit", "param_value": "100"}]
        assert server.call("PUT", f"instances/{instance_id}/async-configs", {"redis_config": items})[0] == 200
        load(cache(client, instance_id), KEYS, 400)
        yield server, client, instance_id
    finally:
        server.clean_up()


@pytest.fixture
def two_shards(shared: tuple[Server, Any, str]) -> tuple[Server, Any, str]:
    """The shared instance with two shards, whose nodes answer BUSY after a tenth of a second instead of five."""
    server, client, instance_id = shared
    if show(client, instance_id).sharding_count != 2 or len(server.nodes()) != 2:
        assert ended(client, instance_id, resize(client, instance_id, 2)).status == "SUCCESS"
    return shared


def details(client: Any, instance_id: str, task_id: str) -> list[str]:
    steps = progress(client, instance_id, task_id).step_details
    return [sub_step.detail for step in steps for sub_step in step.sub_step_details or []]


def require_waiting(server: Server, client: Any, instance_id: str, task_id: str, node_id: str) -> None:
    """The task says in a detail and in the log that it waits for the node, and the percent stands."""
    text = f"waiting for node {node_id}: a script runs (BUSY)"
    until(lambda: any(text in detail for detail in details(client, instance_id, task_id)), f"no detail says {text!r}")
    until(lambda: percent_stands(client, instance_id, task_id), "the percent does not stand")
    assert newest_task(client, instance_id).status not in ENDED
    until(lambda: text in server.log(), "the log does not say so")


def percent_stands(client: Any, instance_id: str, task_id: str) -> bool:
    """Whether neither this nor the remaining seconds decrease for a while. Other nodes may be on the move at first."""
    first = progress(client, instance_id, task_id)
    time.sleep(1)
    later = progress(client, instance_id, task_id)
    return bool(later.progress == first.progress and later.remain_time >= first.remain_time)


def require_whole(server: Server, client: Any, instance_id: str, task_id: str, shards: int) -> None:
    row = ended(client, instance_id, task_id)
    assert row.status == "SUCCESS", (row, server.log()[-3000:])
    assert not [detail for detail in details(client, instance_id, task_id) if "status:" in detail]
    assert all(detail.startswith("{") for detail in details(client, instance_id, task_id) if detail)
    caches = cache(client, instance_id)
    assert states(caches) == {"ok"}
    assert present(caches, KEYS) == KEYS
    assert len(server.nodes()) == shards
    assert show(client, instance_id).status == "RUNNING"


def test_a_scale_waits_for_a_script_before_it_has_a_plan(two_shards: tuple[Server, Any, str]) -> None:
    server, client, instance_id = two_shards
    node_id = folder_id(server.nodes()[0])
    with busy(server, node_id, SECONDS):
        until_busy(server, node_id)
        task_id = resize(client, instance_id, 3)
        require_waiting(server, client, instance_id, task_id, node_id)
    require_whole(server, client, instance_id, task_id, 3)


@pytest.mark.parametrize("who", ["source", "target", "other"])
def test_a_scale_waits_for_a_script_in_mid_migration(two_shards: tuple[Server, Any, str], who: str) -> None:
    """A migration does not need the other node. Its script is waited for by the check at the end."""
    server, client, instance_id = two_shards
    before = {folder_id(node) for node in server.nodes()}
    task_id = held_in_migration(server, client, instance_id, 3)
    (new,) = {folder_id(node) for node in server.nodes()} - before
    source = next(
        detail.partition("node_id:")[2].partition(",")[0]
        for detail in details(client, instance_id, task_id)
        if "slot_range:" in detail
    )
    node_id = {"source": source, "target": new, "other": next(iter(before - {source}))}[who]
    with busy(server, node_id, SECONDS):
        until_busy(server, node_id)
        assert server.call("PUT", f"instances/{instance_id}/tasks/{task_id}/control", {"state": "running"})[0] == 200
        require_waiting(server, client, instance_id, task_id, node_id)
    require_whole(server, client, instance_id, task_id, 3)


@pytest.mark.parametrize("who", ["leaving", "staying"])
def test_a_scale_in_waits_for_a_script(shared: tuple[Server, Any, str], who: str) -> None:
    server, client, instance_id = shared
    if len(server.nodes()) != 3:
        assert ended(client, instance_id, resize(client, instance_id, 3)).status == "SUCCESS"
    task_id = held_in_migration(server, client, instance_id, 2)
    leaving = next(
        detail.partition("node_id:")[2].partition(",")[0]
        for detail in details(client, instance_id, task_id)
        if "slot_range:" in detail
    )
    staying = next(node_id for node_id in map(folder_id, server.nodes()) if node_id != leaving)
    path = f"instances/{instance_id}/tasks/{task_id}/control"
    node_id = leaving if who == "leaving" else staying
    with busy(server, node_id, SECONDS):
        until_busy(server, node_id)
        assert server.call("PUT", path, {"state": "running"})[0] == 200
        require_waiting(server, client, instance_id, task_id, node_id)
    require_whole(server, client, instance_id, task_id, 2)


def test_a_task_can_be_paused_and_cancelled_while_it_waits(two_shards: tuple[Server, Any, str]) -> None:
    server, client, instance_id = two_shards
    task_id = held_in_migration(server, client, instance_id, 3)
    path = f"instances/{instance_id}/tasks/{task_id}/control"
    node_id = next(
        detail.partition("node_id:")[2].partition(",")[0]
        for detail in details(client, instance_id, task_id)
        if "slot_range:" in detail
    )
    with busy(server, node_id, SECONDS):
        until_busy(server, node_id)
        assert server.call("PUT", path, {"state": "running"})[0] == 200
        require_waiting(server, client, instance_id, task_id, node_id)
        assert server.call("PUT", path, {"state": "paused"})[0] == 200
        require_waiting(server, client, instance_id, task_id, node_id)
        assert server.call("POST", f"instances/{instance_id}/resize/cancel/{task_id}")[0] == 200
        assert ended(client, instance_id, task_id).status == "FAILED"
        _, record = server.call("GET", f"instances/{instance_id}/tasks/{task_id}")
        assert record["task"]["error_code"] == "DCS.9005"
    until(lambda: serves(client, instance_id), "the cluster is not whole")
    assert present(cache(client, instance_id), KEYS) == KEYS
    require_whole(server, client, instance_id, resize(client, instance_id, 3), 3)


def test_a_killed_server_goes_on_waiting(two_shards: tuple[Server, Any, str]) -> None:
    server, client, instance_id = two_shards
    node_id = folder_id(server.nodes()[0])
    with busy(server, node_id, SECONDS):
        until_busy(server, node_id)
        task_id = resize(client, instance_id, 3)
        require_waiting(server, client, instance_id, task_id, node_id)
        server.kill()
        server.start()
        require_waiting(server, client, instance_id, task_id, node_id)
    require_whole(server, client, instance_id, task_id, 3)


def test_a_restart_waits_for_a_script(two_shards: tuple[Server, Any, str]) -> None:
    server, client, instance_id = two_shards
    node_id = folder_id(server.nodes()[-1])
    with busy(server, node_id, SECONDS):
        until_busy(server, node_id)
        assert server.call("PUT", "instances/status", {"instances": [instance_id], "action": "restart"})[0] == 200
        task_id = newest_task(client, instance_id).id
        require_waiting(server, client, instance_id, task_id, node_id)
    require_whole(server, client, instance_id, task_id, 2)


def test_a_change_of_parameters_waits_for_a_script(two_shards: tuple[Server, Any, str]) -> None:
    server, client, instance_id = two_shards
    node_id = folder_id(server.nodes()[-1])
    items = [{"param_id": "19", "param_name": "slowlog-max-len", "param_value": "200"}]
    with busy(server, node_id, SECONDS):
        until_busy(server, node_id)
        assert server.call("PUT", f"instances/{instance_id}/async-configs", {"redis_config": items})[0] == 200
        task_id = newest_task(client, instance_id).id
        require_waiting(server, client, instance_id, task_id, node_id)
    require_whole(server, client, instance_id, task_id, 2)
    with control(server, node_id) as node:
        assert node.config_get("slowlog-max-len") == {"slowlog-max-len": "200"}


def test_a_change_of_the_size_waits_for_a_script(two_shards: tuple[Server, Any, str]) -> None:
    server, client, instance_id = two_shards
    node_id = folder_id(server.nodes()[-1])
    with busy(server, node_id, SECONDS):
        until_busy(server, node_id)
        task_id = resize(client, instance_id, 2, shard_gb=2)
        require_waiting(server, client, instance_id, task_id, node_id)
    require_whole(server, client, instance_id, task_id, 2)
    assert ended(client, instance_id, resize(client, instance_id, 2)).status == "SUCCESS"


def test_a_preview_says_at_once_that_a_node_is_busy(two_shards: tuple[Server, Any, str]) -> None:
    server, _, instance_id = two_shards
    node_id = folder_id(server.nodes()[0])
    with busy(server, node_id, SECONDS):
        until_busy(server, node_id)
        body = {"spec_code": spec(3), "new_capacity": 3}
        status, answer = server.call("POST", f"instances/{instance_id}/resize/plan", body)
        assert status == 400
        assert answer["error_code"] == "DCS.4049"
        assert node_id in answer["error_msg"]


def test_scripts_on_all_nodes_are_not_taken_for_dead_nodes_in_their_first_seconds(own_server: Server) -> None:
    """A node answers nothing until its script has run for `busy-reply-threshold`, which is 5 s by default."""
    client = own_server.client()
    instance_id = created(client, 2)
    load(cache(client, instance_id), KEYS, 400)
    with ExitStack() as scripts:
        for node in own_server.nodes():
            scripts.enter_context(busy(own_server, folder_id(node), SECONDS))
        task_id = resize(client, instance_id, 3)
        until(lambda: "a script runs (BUSY)" in "".join(details(client, instance_id, task_id)), "nobody waits")
    require_whole(own_server, client, instance_id, task_id, 3)
    assert "answer" not in own_server.log()


def test_a_deletion_does_not_wait_for_a_script(own_server: Server) -> None:
    client = own_server.client()
    instance_id = created(client, 1)
    node_id = folder_id(own_server.nodes()[0])
    answers_busy_soon(own_server, node_id)
    with busy(own_server, node_id, SECONDS):
        until_busy(own_server, node_id)
        client.delete_single_instance(DeleteSingleInstanceRequest(instance_id=instance_id))
        until(lambda: gone(client, instance_id), "the instance is not gone")
    assert not own_server.nodes()


def save(server: Server, node_id: str, seconds: float) -> None:
    """Start a background save of the node that takes about this time."""
    with control(server, node_id) as node:
        until(lambda: not node.info("persistence")["aof_rewrite_in_progress"], "another child lives")
        node.config_set("rdb-key-save-delay", int(seconds / node.dbsize() * 1e6))
        node.execute_command("BGSAVE")
        node.config_set("rdb-key-save-delay", 0)


@pytest.mark.parametrize("cancelled", [False, True], ids=["succeeds", "cancelled"])
def test_a_scale_waits_for_a_background_save_of_its_source(
    two_shards: tuple[Server, Any, str], cancelled: bool
) -> None:
    server, client, instance_id = two_shards
    for node in server.nodes():
        save(server, folder_id(node), SECONDS)
    task_id = resize(client, instance_id, 3)
    until(
        lambda: any(
            "status:waiting for a background save of node" in one for one in details(client, instance_id, task_id)
        ),
        "no detail says so",
    )
    until(lambda: percent_stands(client, instance_id, task_id), "the percent does not stand")
    until(lambda: "waiting for a background save of node" in server.log(), "the log does not say so")
    if cancelled:
        assert server.call("POST", f"instances/{instance_id}/resize/cancel/{task_id}")[0] == 200
        assert ended(client, instance_id, task_id).status == "FAILED"
    for node in server.nodes():
        for child in node.children():
            with suppress(psutil.NoSuchProcess):
                child.send_signal(signal.SIGUSR1)  # which ends a child of Valkey
    if not cancelled:
        require_whole(server, client, instance_id, task_id, 3)
    until(lambda: serves(client, instance_id), "the cluster is not whole")
    assert present(cache(client, instance_id), KEYS) == KEYS
