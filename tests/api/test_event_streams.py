"""Watching a task without polling: a stream of its changes, and answers that are not sent twice."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from huaweicloudsdkdcs.v2 import DeleteSingleInstanceRequest

from caches import cache, load
from postgres_server import PostgresServer
from sdk_calls import create, created, ended, held_in_migration, newest_task, resize, show
from serving import Server, until
from stream_readers import StreamReader


@contextmanager
def watched(server: Server, instance_id: str, task_id: str) -> Iterator[Iterator[tuple[str, int, Any]]]:
    """Events as they come: name, id, data."""
    path = f"instances/{instance_id}/tasks/{task_id}/progress"
    with httpx.Client(timeout=60) as http:
        answer = http.send(server.signed("GET", path, Accept="text/event-stream"), stream=True)
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        try:
            yield events(answer)
        finally:
            answer.close()


def events(answer: httpx.Response) -> Iterator[tuple[str, int, Any]]:
    fields: dict[str, str] = {}
    for line in answer.iter_lines():
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif "data" in fields:
            yield fields["event"], int(fields["id"]), json.loads(fields["data"])
            fields = {}


def test_a_stream_tells_every_change_and_ends_with_the_task(server: Server, client: Any) -> None:
    instance_id = create(client, 2)
    task_id = newest_task(client, instance_id).id
    with watched(server, instance_id, task_id) as stream:
        told = list(stream)
    assert [name for name, _, _ in told] == ["progress"] * (len(told) - 1) + ["end"]
    assert len(told) > 1
    revisions = [revision for _, revision, _ in told]
    assert revisions == sorted(set(revisions))
    percents = [progress["progress"] for _, _, progress in told]
    assert percents == sorted(percents)
    assert percents[-1] == 100
    assert {step["step_status"] for step in told[-1][2]["step_details"]} == {"FINISH"}
    assert show(client, instance_id).status == "RUNNING"


def test_a_stream_of_a_task_that_is_over_is_its_end(server: Server, client: Any) -> None:
    instance_id = created(client, 1)
    with watched(server, instance_id, newest_task(client, instance_id).id) as stream:
        told = list(stream)
    assert [(name, progress["progress"]) for name, _, progress in told] == [("end", 100)]


def test_a_stream_of_nothing_is_refused_in_the_contracts_shape(server: Server, client: Any) -> None:
    instance_id = created(client, 1)
    path = f"instances/{instance_id}/tasks/{'0' * 32}/progress"
    with httpx.Client(timeout=60) as http:
        answer = http.send(server.signed("GET", path, Accept="text/event-stream"))
    assert (answer.status_code, answer.json()["error_code"]) == (404, "DCS.4958")


def test_what_has_not_changed_is_not_sent_again(server: Server, client: Any) -> None:
    instance_id = created(client, 1)
    task_id = newest_task(client, instance_id).id
    path = f"instances/{instance_id}/tasks/{task_id}/progress"
    with httpx.Client(timeout=60) as http:
        first = http.send(server.signed("GET", path))
        again = http.send(server.signed("GET", path, **{"If-None-Match": first.headers["etag"]}))
        stale = http.send(server.signed("GET", path, **{"If-None-Match": '"of another time"'}))
    assert (first.status_code, first.json()["progress"]) == (200, 100)
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    assert (stale.status_code, stale.json()) == (200, first.json())


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_server_that_ends_ends_its_streams(own_server: Server, how: str) -> None:
    client = own_server.client()
    instance_id = create(client, 2)
    task_id = newest_task(client, instance_id).id
    with watched(own_server, instance_id, task_id) as stream:
        next(stream)
        if how == "stop":
            assert own_server.stop() == 0
        else:
            own_server.kill()
        with suppress(httpx.HTTPError):
            assert len(list(stream)) < 1000
    own_server.start()
    client = own_server.client()
    assert ended(client, instance_id, task_id).status == "SUCCESS"
    with watched(own_server, instance_id, task_id) as stream:
        assert until(lambda: next(stream), "no event")[0] == "end"


def test_a_stream_ends_when_the_server_is_told_to_stop(own_server: Server) -> None:
    """A task that cannot go on keeps its stream open until then."""
    client = own_server.client()
    instance_id = created(client, 1)
    for process in own_server.nodes():
        process.suspend()
    task_id = resize(client, instance_id, 2)
    with watched(own_server, instance_id, task_id) as stream:
        assert next(stream)[0] == "progress"
        assert own_server.stop() == 0
        with suppress(httpx.RemoteProtocolError):
            list(stream)
    assert "Traceback" not in own_server.log()


def test_streams_survive_a_restart_of_the_database(own_postgres: PostgresServer, tmp_path: Path) -> None:
    """Longer than the two seconds between two checks of rights, which fail meanwhile."""
    server = Server(tmp_path, environment={"CACHEWRIGHT_DATABASE_URL": own_postgres.new_database()})
    server.start()
    try:
        client = server.client()
        instance_id = created(client, 1)
        load(cache(client, instance_id), 1000)
        task_id = held_in_migration(server, client, instance_id, 2)
        task = StreamReader(server, f"instances/{instance_id}/tasks/{task_id}/progress")
        instance = StreamReader(server, f"instances/{instance_id}/state")
        until(lambda: task.last == "progress" and instance.last == "state", "the streams begin")
        own_postgres.stop()
        time.sleep(3)
        assert server.call("GET", f"instances/{instance_id}")[0] == 503
        own_postgres.start()
        until(lambda: server.call("GET", f"instances/{instance_id}")[0] == 200, "the server finds its database again")
        assert server.call("PUT", f"instances/{instance_id}/tasks/{task_id}/control", {"state": "running"})[0] == 200
        assert ended(client, instance_id, task_id).status == "SUCCESS"
        task.join()
        assert task.last == "end"
        assert task.percents == sorted(task.percents)
        client.delete_single_instance(DeleteSingleInstanceRequest(instance_id=instance_id))
        instance.join()
        assert instance.last == "end"
    finally:
        server.clean_up()


def test_a_client_that_goes_away_leaves_no_trace_in_the_log(own_server: Server) -> None:
    client = own_server.client()
    instance_id = create(client, 1)
    task_id = newest_task(client, instance_id).id
    with watched(own_server, instance_id, task_id) as stream:
        next(stream)
    ended(client, instance_id, task_id)
    with socket.create_connection(("127.0.0.1", own_server.port)) as connection:
        connection.sendall(b"POST /v2/p/instances HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc")
    assert own_server.stop() == 0
    assert "Traceback" not in own_server.log()
