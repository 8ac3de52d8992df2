"""Attacks by users on the limits of a user, the audit log, tasks of others and sessions of the console."""

import sqlite3
import uuid
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
from identities import SESSION_COOKIE, Person, beside, send, session, token

from cachewright.clock import now_ms
from cachewright.store import instances, tasks
from database_fixtures import a_task, an_instance
from serving import Server, until


@pytest.fixture(scope="module")
def server(started: Callable[..., Server]) -> Server:
    return started()


# Limits of a user


def test_requests_are_counted_by_user(started: Callable[..., Server]) -> None:
    server = started("--rate-limit", "5/day")
    person = Person.made(server, "viewer")
    first, second = token(person), token(person)
    assert [person.by_token(first, "GET", "instances").status_code for _ in range(5)] == [200] * 5
    assert person.by_token(second, "GET", "instances").status_code == 429
    assert person.call("GET", "instances").status_code == 429
    assert Person.made(server, "viewer", person.project).call("GET", "instances").status_code == 200


def test_changes_are_counted_apart_from_what_is_read(started: Callable[..., Server]) -> None:
    server = started("--change-rate-limit", "3/day")
    person = Person.made(server, "operator")
    path = f"instances/{uuid.uuid4()}"
    answers = [person.call("PUT", path, {"name": "another-name"}) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [404, 404, 404, 429]
    assert int(answers[-1].headers["retry-after"]) > 0
    assert person.call("GET", "instances").status_code == 200


def test_a_user_has_so_many_tokens(started: Callable[..., Server]) -> None:
    server = started("--tokens-per-user", "2")
    person = Person.made(server, "viewer")
    cookie, _ = session(person)
    held = [token(person) for _ in range(3)]
    assert [person.by_token(one, "GET", "instances").status_code for one in held] == [401, 200, 200]
    signed_in = {"Cookie": f"{SESSION_COOKIE}={cookie}"}
    assert send(server, "GET", person.path("instances"), signed_in).status_code == 200
    with closing(sqlite3.connect(f"file:{server.data_dir}/cachewright.db?mode=ro", uri=True)) as connection:
        assert connection.execute("SELECT count(*) FROM tokens").fetchone() == (3,)


# The audit log


def test_refused_calls_that_repeat_are_one_entry(server: Server) -> None:
    admin = Person.made(server, "admin")
    viewer = Person.made(server, "viewer", admin.project)
    path = "instances/" + "a" * 7000
    assert {viewer.call("DELETE", path).status_code for _ in range(20)} == {403}
    assert viewer.call("DELETE", "instances").status_code == 403
    (entry,) = admin.audit()
    assert (entry["count"], entry["error_code"], entry["user_name"]) == (21, "DCS.2007", viewer.name)
    assert len(entry["path"]) == 300


def test_failed_calls_that_repeat_are_few_entries(server: Server) -> None:
    admin = Person.made(server, "admin")
    for _ in range(30):
        assert admin.call("DELETE", f"instances/{uuid.uuid4()}").status_code == 404
    entries = admin.audit()
    assert len(entries) == 10
    assert sum(entry["count"] for entry in entries) == 30


def test_batch_calls_name_their_instances(server: Server) -> None:
    admin = Person.made(server, "admin")
    made = admin.call("POST", "instances", create_body()).json()["instances"][0]["instance_id"]
    named = [str(uuid.uuid4()) for _ in range(2)]
    assert admin.call("PUT", "instances/status", {"action": "restart", "instances": named}).status_code == 200
    assert admin.call("DELETE", "instances", {"instances": [*named, made]}).status_code == 200
    deleted, restarted, created = admin.audit()
    assert (created["subjects"], restarted["subjects"]) == ([made], named)
    assert deleted["subjects"] == [*named, made]
    assert (deleted["path"], deleted["status"]) == (admin.path("instances"), 200)


def create_body() -> dict[str, Any]:
    return {
        "name": "cache",
        "engine": "Redis",
        "engine_version": "7.0",
        "capacity": 1,
        "spec_code": "redis.cluster.xu1.large.r1.s1.1",
        "az_codes": ["local"],
        "vpc_id": "local",
        "subnet_id": "local",
        "password": "Some-password-1",
    }


# Tasks


@pytest.mark.parametrize(
    ("verb", "call", "body"),
    [
        ("POST", "retry", None),
        ("POST", "cancel", None),
        ("PUT", "control", {"state": "running", "latency_ceiling_ms": 0.1}),
    ],
)
def test_a_task_is_for_who_may_start_it(server: Server, verb: str, call: str, body: Any) -> None:
    admin = Person.made(server, "admin")
    operator = Person.made(server, "operator", admin.project)
    instance_id, task_id = failed_deletion(admin)
    path = f"instances/{instance_id}/tasks/{task_id}/{call}"
    refused = operator.call(verb, path, body)
    assert (refused.status_code, refused.json()["error_code"]) == (403, "DCS.2007")
    assert "dcs:instance:delete" in refused.json()["error_msg"]
    assert admin.call(verb, path, body).status_code == (200 if call == "retry" else 400)
    if call == "retry":
        until(lambda: admin.call("GET", f"instances/{instance_id}").status_code == 404, "the instance is not deleted")


def failed_deletion(admin: Person) -> tuple[str, str]:
    """An instance without nodes and its task, in a project of the admin."""
    instance_id, task_id, now = str(uuid.uuid4()), uuid.uuid4().hex, now_ms()
    who = {"project_id": admin.project.id, "user_id": admin.key.user_id, "user_name": admin.name}
    instance = an_instance(id=instance_id, status="ERROR", created_at=now, updated_at=now, **who)
    failed = {"status": "FAILED", "end_time": now, "error_code": "DCS.9004"}
    task = a_task(
        id=task_id, instance_id=instance_id, kind="delete", name="DeleteInstance", created_at=now, **failed, **who
    )
    with beside(admin.server) as connection:
        instances.add(connection, instance)
        tasks.add(connection, task)
    return instance_id, task_id


# Sessions of the console


def test_a_session_is_no_token_and_a_token_is_no_session(server: Server) -> None:
    person = Person.made(server, "viewer")
    text, (cookie, csrf) = token(person), session(person)
    path = person.path("instances")
    assert person.by_token(text, "GET", "instances").status_code == 200
    assert send(server, "GET", path, {"Cookie": f"{SESSION_COOKIE}={cookie}"}).status_code == 200
    assert person.by_token(cookie, "GET", "instances").status_code == 401
    assert send(server, "GET", path, {"Cookie": f"{SESSION_COOKIE}={text}"}).status_code == 401
    for method in ("GET", "DELETE"):
        subject = {"X-Auth-Token": text, "X-Subject-Token": cookie}
        assert send(server, method, "/v3/auth/tokens", subject).status_code == 401
    for method in ("GET", "DELETE"):
        mixed = {"X-Auth-Token": text, "Cookie": f"{SESSION_COOKIE}={text}", "X-CSRF-Token": csrf}
        assert send(server, method, "/console/session", mixed).status_code == 401
    assert person.by_token(text, "GET", "instances").status_code == 200
