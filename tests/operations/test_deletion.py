"""DELETE of an instance whose tasks have not ended: it cancels them, whatever they do or wait for."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any

import psutil
import pytest
from huaweicloudsdkdcs.v2 import (
    ChangeInstanceStatusBody,
    DeleteSingleInstanceRequest,
    ListBackgroundTaskRequest,
    ModifyRedisConfigBody,
    RedisConfig,
    RestartOrFlushInstancesRequest,
    UpdateConfigurationsRequest,
)

from sdk_calls import ENDED, create, created, gone, held_in_migration, newest_task, resize, show
from serving import Server, freeze, thaw, until

Started = Callable[[Server, Any], tuple[str, str]]
"""Creates an instance with a task that would not end soon. Ids of both."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose only instance is that of the test, which deletes it."""
    started = Server(tmp_path_factory.mktemp("deletion") / "data")
    try:
        started.start()
        yield started
    finally:
        started.clean_up()


def delete(client: Any, instance_id: str) -> None:
    client.delete_single_instance(DeleteSingleInstanceRequest(instance_id=instance_id))


def stored(server: Server, instance_id: str) -> dict[str, tuple[str, str, str]]:
    """Status, error code and message of the tasks of an instance, by id."""
    with closing(sqlite3.connect(server.data_dir / "cachewright.db")) as database:
        query = "SELECT id, status, error_code, message FROM tasks WHERE instance_id = ?"
        return {row[0]: row[1:] for row in database.execute(query, [instance_id])}


def kinds(server: Server, instance_id: str) -> list[str]:
    """Kinds of the tasks of an instance, also after its deletion."""
    with closing(sqlite3.connect(server.data_dir / "cachewright.db")) as database:
        return [kind for (kind,) in database.execute("SELECT kind FROM tasks WHERE instance_id = ?", [instance_id])]


def left_behind(server: Server) -> list[str]:
    return [folder.name for folder in (server.data_dir / "nodes").glob("*") if not folder.name.startswith(".")]


def paused(server: Server, client: Any) -> tuple[str, str]:
    instance_id = created(client, 1)
    task_id = held_in_migration(server, client, instance_id, 2)
    path = f"instances/{instance_id}/tasks/{task_id}/control"
    assert server.call("PUT", path, {"state": "paused"})[0] == 200
    return instance_id, task_id


def below_a_ceiling(server: Server, client: Any) -> tuple[str, str]:
    instance_id = created(client, 1)
    return instance_id, held_in_migration(server, client, instance_id, 2)


def paused_before_it_begins(server: Server, client: Any) -> tuple[str, str]:
    instance_id = created(client, 1)
    task_id = resize(client, instance_id, 2)
    path = f"instances/{instance_id}/tasks/{task_id}/control"
    assert server.call("PUT", path, {"state": "paused"})[0] == 200
    return instance_id, task_id


def creating(server: Server, client: Any) -> tuple[str, str]:
    instance_id = create(client, 3)
    return instance_id, str(newest_task(client, instance_id).id)


def cancelled_while_it_is_created(server: Server, client: Any) -> tuple[str, str]:
    instance_id, task_id = creating(server, client)
    server.call("POST", f"instances/{instance_id}/tasks/{task_id}/cancel")
    return instance_id, task_id


def restarting(server: Server, client: Any) -> tuple[str, str]:
    instance_id = created(client, 3)
    body = ChangeInstanceStatusBody(instances=[instance_id], action="restart")
    client.restart_or_flush_instances(RestartOrFlushInstancesRequest(body=body))
    return instance_id, str(newest_task(client, instance_id).id)


UNINTERRUPTED = [paused, below_a_ceiling, paused_before_it_begins, creating, cancelled_while_it_is_created, restarting]


def node_of(server: Server) -> psutil.Process:
    return next(process for process in server.nodes() if process.info["cmdline"][0].endswith("valkey-server"))


@contextmanager
def frozen_node(server: Server) -> Iterator[None]:
    process = node_of(server)
    freeze(process)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            thaw(process)


@pytest.mark.parametrize("started", UNINTERRUPTED)
def test_a_deletion_cancels_the_running_task(server: Server, started: Started) -> None:
    client = server.client()
    instance_id, task_id = started(server, client)
    delete(client, instance_id)
    shown = server.call("GET", f"instances/{instance_id}")
    assert shown[0] == 404 or shown[1]["status"] == "DELETING"
    assert server.call("DELETE", f"instances/{instance_id}")[0] in {204, 404}, "it may have been deleted meanwhile"
    control = server.call("PUT", f"instances/{instance_id}/tasks/{task_id}/control", {"state": "running"})
    assert control[0] in {400, 404}, "the cancelled task can be continued"
    until(lambda: gone(client, instance_id), "the instance is not deleted")
    assert kinds(server, instance_id).count("delete") == 1, "another request is another task"
    status, code, message = stored(server, instance_id)[task_id]
    assert (status, code) in {("FAILED", "DCS.9005"), ("SUCCESS", None)}
    if started in {paused, below_a_ceiling, paused_before_it_begins}:
        assert status == "FAILED"
        assert message.startswith("cancelled: the instance is deleted")
    until(lambda: not server.nodes(), "a node is left")
    assert not left_behind(server)


def test_another_request_to_delete_an_instance_starts_no_other_task(server: Server) -> None:
    client = server.client()
    instance_id = created(client, 1)
    with frozen_node(server):
        delete(client, instance_id)
        assert show(client, instance_id).status == "DELETING"
        delete(client, instance_id)
        tasks = client.list_background_task(ListBackgroundTaskRequest(instance_id=instance_id)).tasks
        assert [task.name for task in tasks].count("DeleteInstance") == 1
        until(lambda: gone(client, instance_id), "the instance is not deleted")
    until(lambda: not server.nodes(), "a node is left")


@pytest.mark.parametrize("started", UNINTERRUPTED)
def test_a_deletion_survives_a_kill_of_the_server(server: Server, started: Started) -> None:
    client = server.client()
    instance_id, task_id = started(server, client)
    delete(client, instance_id)
    server.kill()
    server.start()
    until(lambda: gone(server.client(), instance_id), "the instance is not deleted")
    until(lambda: stored(server, instance_id)[task_id][0] in ENDED, "the cancelled task has not ended")
    assert "run was interrupted" not in server.log()
    until(lambda: not server.nodes(), "a node is left")
    assert not left_behind(server)


def scale(client: Any, instance_id: str) -> None:
    resize(client, instance_id, 4)


def change_parameters(client: Any, instance_id: str) -> None:
    changed = RedisConfig(param_id="1", param_name="timeout", param_value="100")
    body = ModifyRedisConfigBody(redis_config=[changed])
    client.update_configurations(UpdateConfigurationsRequest(instance_id=instance_id, body=body))


def restart(client: Any, instance_id: str) -> None:
    body = ChangeInstanceStatusBody(instances=[instance_id], action="restart")
    client.restart_or_flush_instances(RestartOrFlushInstancesRequest(body=body))


@pytest.mark.parametrize("request_task", [scale, change_parameters, restart])
def test_a_deletion_reaches_a_task_that_waits_for_a_node(
    server: Server, request_task: Callable[[Any, str], None]
) -> None:
    client = server.client()
    instance_id = created(client, 3)
    with frozen_node(server):
        request_task(client, instance_id)
        task_id = str(newest_task(client, instance_id).id)
        time.sleep(1)
        delete(client, instance_id)
        until(lambda: gone(client, instance_id), "the instance is not deleted")
    assert stored(server, instance_id)[task_id][:2] == ("FAILED", "DCS.9005")
    until(lambda: not server.nodes(), "a node is left")


def test_a_retried_scale_is_cancelled_like_the_first_attempt(server: Server) -> None:
    client = server.client()
    instance_id, task_id = paused(server, client)
    path = f"instances/{instance_id}/tasks/{task_id}"
    assert server.call("POST", f"{path}/cancel")[0] == 200
    until(lambda: newest_task(client, instance_id).status == "FAILED", "the task is not cancelled")
    assert server.call("POST", f"{path}/retry")[0] == 200
    assert server.call("PUT", f"{path}/control", {"state": "paused"})[0] == 200
    delete(client, instance_id)
    assert server.call("POST", f"{path}/retry")[0] in {400, 404}
    until(lambda: gone(client, instance_id), "the instance is not deleted")
    assert stored(server, instance_id)[task_id][0] == "FAILED"
