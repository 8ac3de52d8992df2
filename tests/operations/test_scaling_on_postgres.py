"""A server whose database is on PostgreSQL: either of them dies in the middle, the command line works beside it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from huaweicloudsdkdcs.v2 import ListInstancesRequest

from caches import cache, load, present
from postgres_server import PostgresServer
from sdk_calls import created, ended, newest_task, progress, resize, show
from serving import Server, until
from traffic import Traffic

VARIABLE = "CACHEWRIGHT_DATABASE_URL"
KEYS = 60_000


@pytest.fixture
def own_server(postgres: PostgresServer, tmp_path: Path) -> Iterator[Server]:
    yield from running(postgres, tmp_path)


def running(postgres: PostgresServer, folder: Path) -> Iterator[Server]:
    url = postgres.new_database()
    server = Server(folder / "data", environment={VARIABLE: url})
    try:
        server.start()
        yield server
    finally:
        server.clean_up()
        postgres.drop_database(url)


@pytest.fixture
def mortal(own_postgres: PostgresServer, tmp_path: Path) -> Iterator[Server]:
    """A server whose PostgreSQL is the test's own."""
    yield from running(own_postgres, tmp_path)


def run(server: Server, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cachewright", *words, "--data-dir", str(server.data_dir)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, env={**os.environ, **server.environment}
    )


def caught_in_mid_move(client: Any, instance_id: str) -> tuple[str, Any, int]:
    """Id and progress of a resize whose slots move, and its number of shards. One that is over too soon is followed by
    one the other way."""
    for attempt in range(6):
        shards = 2 if attempt % 2 else 4
        task_id = resize(client, instance_id, shards)
        seen = seen_in_mid_move(client, instance_id, task_id)
        if seen:
            return task_id, seen, shards
    raise AssertionError("each resize was over before it was seen to move slots")


def seen_in_mid_move(client: Any, instance_id: str, task_id: str) -> Any:
    """Progress of the task while its slots move; None where it was over before that was seen."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        seen = progress(client, instance_id, task_id)
        steps = {step.step_name: step.step_status for step in seen.step_details}
        if steps.get("Data migration.") == "EXECUTING":
            return seen
        if newest_task(client, instance_id).status in {"SUCCESS", "FAILED"}:
            return None
    raise AssertionError("nothing moves")


def test_a_scale_goes_on_after_the_server_was_killed_in_it(own_server: Server) -> None:
    client = own_server.client()
    instance_id = created(client, 2)
    load(cache(client, instance_id), KEYS)
    traffic = Traffic(0, show(client, instance_id).port)
    traffic.start()
    task_id, before, shards = caught_in_mid_move(client, instance_id)
    own_server.kill()
    own_server.start()
    client = own_server.client()
    assert progress(client, instance_id, task_id).progress >= before.progress
    assert ended(client, instance_id, task_id).status == "SUCCESS"
    assert show(client, instance_id).status == "RUNNING"
    assert len(own_server.nodes()) == shards
    caches = cache(client, instance_id)
    traffic.finish(caches)
    assert traffic.writes > 100
    assert not traffic.losses
    assert present(caches, KEYS) == KEYS


@pytest.mark.parametrize("crash", [False, True], ids=["restarted", "killed"])
def test_a_scale_waits_for_its_database(mortal: Server, own_postgres: PostgresServer, crash: bool) -> None:
    client = mortal.client()
    instance_id = created(client, 2)
    load(cache(client, instance_id), KEYS)
    task_id, before, _ = caught_in_mid_move(client, instance_id)
    (own_postgres.kill if crash else own_postgres.stop)()
    for method, path in (("GET", f"instances/{instance_id}"), ("PUT", f"instances/{instance_id}")):
        status, answer = mortal.call(method, path, {"description": "new"} if method == "PUT" else None)
        assert (status, answer["error_code"]) == (503, "DCS.4961")
    until(lambda: "database unavailable" in mortal.log(), "the task did not notice")
    assert cache_answers(mortal)
    own_postgres.start()
    assert progress(mortal.client(), instance_id, task_id).progress >= before.progress
    assert ended(mortal.client(), instance_id, task_id, seconds=150).status == "SUCCESS"
    caches = cache(mortal.client(), instance_id)
    assert present(caches, KEYS) == KEYS
    assert mortal.call("PUT", f"instances/{instance_id}", {"description": "new"})[0] == 204
    assert own_postgres.password not in mortal.log()


def cache_answers(server: Server) -> bool:
    """Nodes serve while the database is away."""
    return all(node.status() != psutil.STATUS_ZOMBIE for node in server.nodes()) and bool(server.nodes())


def test_the_command_line_works_beside_the_server(own_server: Server) -> None:
    created_user = run(own_server, "users", "create", "alice", "--role", "viewer")
    assert (created_user.returncode, created_user.stderr) == (0, "")
    key = json.loads(run(own_server, "keys", "create", "alice").stdout)
    access = {name: key[name] for name in ("access_key", "secret_key", "project_id")}
    client = own_server.client(**access)
    assert show_all(client) == 0
    assert "alice" in run(own_server, "users", "list").stdout
    assert run(own_server, "projects", "create", "shop").returncode == 0
    assert "shop" in run(own_server, "projects", "list").stdout
    assert run(own_server, "keys", "disable", key["access_key"]).returncode == 0
    with pytest.raises(Exception, match=r"DCS\.1001"):
        show_all(client)


def show_all(client: Any) -> int:
    return int(client.list_instances(ListInstancesRequest()).instance_num)


def test_the_password_is_seen_nowhere(own_server: Server, postgres: PostgresServer) -> None:
    created(own_server.client(), 1 + 1)
    assert own_server.process
    process = psutil.Process(own_server.process.pid)
    assert postgres.password not in " ".join(process.cmdline())
    assert all(VARIABLE not in node.environ() for node in own_server.nodes())
    metrics = httpx.get(
        f"{own_server.credentials['endpoint']}/metrics",
        headers={"Authorization": f"Bearer {(own_server.data_dir / 'metrics.token').read_text().strip()}"},
        timeout=60,
    ).text
    assert postgres.password not in own_server.log() + metrics
    url = own_server.environment[VARIABLE]
    for words in (("serve", "--listen", "127.0.0.1:0"), ("users", "list"), ("doctor",), ("demo",)):
        refused = run(own_server, *words, "--database-url", url)
        assert refused.returncode in {1, 2}
        assert "process list" in refused.stderr
        assert postgres.password not in refused.stderr + refused.stdout


def test_doctor_looks_at_the_database(mortal: Server, own_postgres: PostgresServer) -> None:
    def finding() -> dict[str, str]:
        found = json.loads(run(mortal, "doctor", "--json").stdout)
        return next(each for each in found if each["name"] == "database")

    assert finding()["state"] == "ok"
    assert finding()["message"].startswith("PostgreSQL ")
    own_postgres.stop()
    assert finding()["state"] == "fail"
    assert own_postgres.password not in finding()["message"]
    own_postgres.start()


def test_a_server_without_its_database_says_so(mortal: Server, own_postgres: PostgresServer) -> None:
    mortal.stop()
    own_postgres.stop()
    code, said = mortal.refusal()
    assert (code, said.count("\n")) == (1, 1)
    assert said.startswith("cachewright: cannot use postgresql+psycopg://postgres:***@/")
    assert own_postgres.password not in said
    own_postgres.start()
    mortal.start()
