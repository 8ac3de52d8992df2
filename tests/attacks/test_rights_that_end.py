"""Streams of events end when the rights of their caller do."""

import json
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import msgspec
import pytest
from identities import SESSION_COOKIE, Person, beside, send, session, token

from cachewright.clock import now_ms
from cachewright.services import accounts
from cachewright.services.tokens import digest
from cachewright.store import instances, tokens
from sdk_calls import create, ended, newest_task, resize
from serving import Server

ENDS_WITHIN_SECONDS = 60.0


@pytest.fixture(scope="module")
def server(started: Callable[..., Server]) -> Server:
    return started()


@pytest.fixture(scope="module")
def watched(server: Server) -> tuple[Person, str, str]:
    """The admin of a project, its instance, and a task of it that is paused."""
    admin = Person.made(server, "admin")
    key = {"access_key": admin.key.access_key, "secret_key": admin.key.secret_key, "project_id": admin.project.id}
    client = server.client(**key)
    instance_id = create(client, 1)
    ended(client, instance_id, newest_task(client, instance_id).id)
    task_id = resize(client, instance_id, 2)
    paused = admin.call("PUT", f"instances/{instance_id}/tasks/{task_id}/control", {"state": "paused"})
    assert paused.status_code == 200, paused.text
    return admin, instance_id, task_id


def disable_user(person: Person, _: dict[str, str]) -> None:
    with beside(person.server) as connection:
        accounts.enable_user(connection, person.name, False)


def remove_user(person: Person, _: dict[str, str]) -> None:
    with beside(person.server) as connection:
        accounts.remove_user(connection, person.name)


def disable_key(person: Person, _: dict[str, str]) -> None:
    with beside(person.server) as connection:
        accounts.enable_key(connection, person.key.access_key, False)


def remove_key(person: Person, _: dict[str, str]) -> None:
    with beside(person.server) as connection:
        accounts.remove_key(connection, person.key.access_key)


def remove_role(person: Person, _: dict[str, str]) -> None:
    with beside(person.server) as connection:
        accounts.grant(connection, person.name, person.project.name, None)


def expire_token(person: Person, headers: dict[str, str]) -> None:
    with beside(person.server) as connection:
        kept = tokens.get(connection, digest(headers["X-Auth-Token"]))
        assert kept
        tokens.remove(connection, kept.digest)
        tokens.add(connection, msgspec.structs.replace(kept, expires_at=now_ms() - 1))


def revoke_token(person: Person, headers: dict[str, str]) -> None:
    subject = {**headers, "X-Subject-Token": headers["X-Auth-Token"]}
    assert send(person.server, "DELETE", "/v3/auth/tokens", subject).status_code == 204


def sign_out(person: Person, headers: dict[str, str]) -> None:
    assert send(person.server, "DELETE", "/console/session", headers).status_code == 204


def by_key(_: Person) -> dict[str, str]:
    return {}


def by_token(person: Person) -> dict[str, str]:
    return {"X-Auth-Token": token(person)}


def by_session(person: Person) -> dict[str, str]:
    cookie, csrf = session(person)
    return {"Cookie": f"{SESSION_COOKIE}={cookie}", "X-CSRF-Token": csrf}


Means = Callable[[Person], dict[str, str]]
End = Callable[[Person, dict[str, str]], None]


@contextmanager
def streamed(person: Person, path: str, headers: dict[str, str]) -> Iterator[Iterator[str]]:
    """Lines of a stream of events. No headers: the request is signed."""
    accept = {"Accept": "text/event-stream"}
    with httpx.Client(timeout=ENDS_WITHIN_SECONDS) as http:
        if headers:
            url = person.server.credentials["endpoint"] + person.path(path)
            request = http.build_request("GET", url, headers=headers | accept)
        else:
            request = person.signed("GET", path, **accept)
        answer = http.send(request, stream=True)
        assert answer.status_code == 200
        try:
            yield answer.iter_lines()
        finally:
            answer.close()


def last_event(lines: Iterator[str]) -> tuple[str, Any]:
    """Name and data of the last event of a stream that ends."""
    name, data = "", None
    deadline = time.monotonic() + ENDS_WITHIN_SECONDS
    for line in lines:
        assert time.monotonic() < deadline, "the stream does not end"
        field, _, value = line.partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            data = json.loads(value)
    return name, data


@pytest.mark.parametrize(
    ("what", "means", "end", "code"),
    [
        ("state", by_key, disable_user, "DCS.1001"),
        ("state", by_token, disable_user, "DCS.1001"),
        ("state", by_session, remove_user, "DCS.1001"),
        ("state", by_key, disable_key, "DCS.1001"),
        ("state", by_key, remove_key, "DCS.1001"),
        ("state", by_key, remove_role, "DCS.1004"),
        ("state", by_token, expire_token, "DCS.1002"),
        ("state", by_token, revoke_token, "DCS.1001"),
        ("state", by_session, sign_out, "DCS.1001"),
        ("progress", by_key, remove_role, "DCS.1004"),
        ("progress", by_token, expire_token, "DCS.1002"),
        ("progress", by_session, sign_out, "DCS.1001"),
    ],
)
def test_a_stream_ends_with_the_rights_of_its_caller(
    watched: tuple[Person, str, str], what: str, means: Means, end: End, code: str
) -> None:
    admin, instance_id, task_id = watched
    former = Person.made(admin.server, "viewer", admin.project)
    path = {"state": f"instances/{instance_id}/state", "progress": f"instances/{instance_id}/tasks/{task_id}/progress"}
    headers = means(former)
    with streamed(former, path[what], headers) as lines:
        assert f"event: {what}" in lines
        end(former, headers)
        name, data = last_event(lines)
    assert (name, data["error_code"]) == ("refused", code)


def test_a_stream_goes_on_for_who_has_the_rights(watched: tuple[Person, str, str]) -> None:
    admin, instance_id, _ = watched
    viewer = Person.made(admin.server, "viewer", admin.project)
    with streamed(viewer, f"instances/{instance_id}/state", {}) as lines:
        with beside(admin.server) as connection:
            accounts.grant(connection, viewer.name, admin.project.name, "operator")
        seen = 0
        for line in lines:
            assert line != "event: refused"
            seen += line == "event: state"
            if seen == 2:
                return
            if seen == 1:
                with beside(admin.server) as connection:
                    instances.change(connection, instance_id, name=f"n-{uuid.uuid4().hex[:8]}")
    raise AssertionError("the stream has ended")
