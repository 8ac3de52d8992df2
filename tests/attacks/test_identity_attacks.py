"""Attacks by users, former users and strangers on sign-in, rights, limits and the audit log of a real server."""

import json
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from identities import SESSION_COOKIE, Person, beside, send, session, sign_in, token

from cachewright.operations import identity
from cachewright.operations.sign_in import digest
from cachewright.store import instances, tasks, tokens
from cachewright.store.records import Instance, Task
from cachewright.tasks.clock import now_ms
from serving import COMMAND, Server, create, ended, newest_task, resize, until

ENDS_WITHIN_SECONDS = 20.0
FLOODERS = 12


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Server]]:
    """Starts servers with options of their own."""
    servers: list[Server] = []

    def start(*options: str) -> Server:
        server = Server(tmp_path_factory.mktemp("identity") / "data", (*COMMAND, *options))
        servers.append(server)
        server.start()
        return server

    yield start
    for server in servers:
        server.clean_up()


@pytest.fixture(scope="module")
def server(started: Callable[..., Server]) -> Server:
    return started()


@pytest.fixture(scope="module")
def watched(server: Server) -> tuple[Person, str, str]:
    """The admin of a project, its instance, which tells something new now and then, and a task of it that waits for a
    paused one and tells nothing."""
    admin = Person.made(server, "admin")
    key = {"access_key": admin.key.access_key, "secret_key": admin.key.secret_key, "project_id": admin.project.id}
    client = server.client(**key)
    instance_id = create(client, 1)
    ended(client, instance_id, newest_task(client, instance_id).id)
    task_id = resize(client, instance_id, 2)
    paused = admin.call("PUT", f"instances/{instance_id}/tasks/{task_id}/control", {"wish": "pause"})
    assert paused.status_code == 200, paused.text
    assert admin.call("DELETE", f"instances/{instance_id}").status_code == 204
    return admin, instance_id, str(newest_task(client, instance_id).id)


# Rights end immediately


def disable_user(person: Person, _: dict[str, str]) -> None:
    with beside(person.server) as connection:
        identity.enable_user(connection, person.name, False)


def remove_user(person: Person, _: dict[str, str]) -> None:
    with beside(person.server) as connection:
        identity.remove_user(connection, person.name)


def disable_key(person: Person, _: dict[str, str]) -> None:
    with beside(person.server) as connection:
        identity.enable_key(connection, person.key.access_key, False)


def remove_key(person: Person, _: dict[str, str]) -> None:
    with beside(person.server) as connection:
        identity.remove_key(connection, person.key.access_key)


def remove_role(person: Person, _: dict[str, str]) -> None:
    with beside(person.server) as connection:
        identity.grant(connection, person.name, person.project.name, None)


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
        assert time.monotonic() < deadline, "the stream goes on"
        field, _, value = line.partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            data = json.loads(value)
    return name, data


@pytest.mark.parametrize(
    ("what", "means", "end", "code"),
    [
        ("live", by_key, disable_user, "DCS.1001"),
        ("live", by_token, disable_user, "DCS.1001"),
        ("live", by_session, remove_user, "DCS.1001"),
        ("live", by_key, disable_key, "DCS.1001"),
        ("live", by_key, remove_key, "DCS.1001"),
        ("live", by_key, remove_role, "DCS.1004"),
        ("live", by_token, expire_token, "DCS.1002"),
        ("live", by_token, revoke_token, "DCS.1001"),
        ("live", by_session, sign_out, "DCS.1001"),
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
    path = {"live": f"instances/{instance_id}/live", "progress": f"instances/{instance_id}/tasks/{task_id}/progress"}
    headers = means(former)
    with streamed(former, path[what], headers) as lines:
        assert f"event: {what}" in lines
        end(former, headers)
        name, data = last_event(lines)
    assert (name, data["error_code"]) == ("refused", code)


def test_a_stream_goes_on_for_who_has_the_rights(watched: tuple[Person, str, str]) -> None:
    admin, instance_id, _ = watched
    viewer = Person.made(admin.server, "viewer", admin.project)
    with streamed(viewer, f"instances/{instance_id}/live", {}) as lines:
        with beside(admin.server) as connection:
            identity.grant(connection, viewer.name, admin.project.name, "operator")
        seen = 0
        for line in lines:
            assert line != "event: refused"
            seen += line == "event: live"
            if seen == 2:
                return
            if seen == 1:
                with beside(admin.server) as connection:
                    instances.change(connection, instance_id, name=f"n-{uuid.uuid4().hex[:8]}")
    raise AssertionError("the stream has ended")


# Signing in


@contextmanager
def flood(server: Server, address: str) -> Iterator[None]:
    """Clients at one address that sign in with invented names, without a pause."""
    over = threading.Event()

    def invent() -> None:
        with httpx.Client(transport=httpx.HTTPTransport(local_address=address), timeout=60) as http:
            while not over.is_set():
                user = {"name": f"n-{uuid.uuid4().hex}", "password": "x", "domain": {"name": "cachewright"}}
                body = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}}}
                answer = http.post(server.credentials["endpoint"] + "/v3/auth/tokens", json=body)
                if answer.status_code == 429:
                    assert int(answer.headers["retry-after"]) > 0
                    refused.set()
                over.wait(0.02)

    refused = threading.Event()
    flooders = [threading.Thread(target=invent) for _ in range(FLOODERS)]
    for flooder in flooders:
        flooder.start()
    try:
        assert refused.wait(60), "there is no flood"
        yield
    finally:
        over.set()
        for flooder in flooders:
            flooder.join()


def test_a_flood_of_sign_ins_keeps_no_other_address_out(server: Server) -> None:
    person = Person.made(server, "viewer")
    with flood(server, "127.0.0.2"):
        answers = [sign_in(server, person.name, person.project, address="127.0.0.3") for _ in range(5)]
    assert [answer.status_code for answer in answers] == [201] * 5


def test_a_flood_of_sign_ins_keeps_no_known_name_of_its_address_out(server: Server) -> None:
    person = Person.made(server, "viewer")
    assert sign_in(server, person.name, person.project, address="127.0.0.4").status_code == 201
    with flood(server, "127.0.0.4"):
        answers = [sign_in(server, person.name, person.project, address="127.0.0.4") for _ in range(5)]
    assert [answer.status_code for answer in answers] == [201] * 5


def test_failed_sign_ins_are_on_record_without_secrets(server: Server) -> None:
    admin = Person.made(server, "admin")
    guessed = Person.made(server, "viewer", admin.project)
    for _ in range(3):
        refused = sign_in(server, guessed.name, password="Wrong-password-7", address="127.0.0.5")
        assert refused.status_code == 401
    assert sign_in(server, guessed.name, admin.project, address="127.0.0.5").status_code == 201
    succeeded, failed = admin.audit()
    for entry, status, count in ((failed, 401, 3), (succeeded, 201, 1)):
        assert (entry["action"], entry["status"], entry["count"]) == ("iam:token:create", status, count)
        assert (entry["user_name"], entry["source"], entry["credential"]) == (guessed.name, "127.0.0.5", "password")
    assert failed["error_code"] == "DCS.1001"
    lines = [line for line in server.log().splitlines() if guessed.name in line]
    assert len(lines) == 3
    assert all("sign-in refused" in line and "127.0.0.5" in line for line in lines)
    assert "Wrong-password-7" not in server.log() + json.dumps(admin.audit())


def test_failed_sign_ins_are_counted(server: Server) -> None:
    def counted(outcome: str) -> float:
        key = {"Authorization": f"Bearer {(server.data_dir / 'metrics.token').read_text().strip()}"}
        page = send(server, "GET", "/metrics", key).text
        name = f'cachewright_sign_ins_total{{outcome="{outcome}"}} '
        return next(float(line[len(name) :]) for line in page.splitlines() if line.startswith(name))

    person = Person.made(server, "viewer")
    before = {outcome: counted(outcome) for outcome in ("success", "failed", "limited")}
    sign_in(server, person.name, password="x", address="127.0.0.6")
    sign_in(server, person.name, address="127.0.0.6")
    assert counted("failed") == before["failed"] + 1
    assert counted("success") == before["success"] + 1


def test_invented_names_do_not_fill_the_audit_log(server: Server) -> None:
    def rows() -> list[tuple[str, int]]:
        with closing(sqlite3.connect(f"file:{server.data_dir}/cachewright.db?mode=ro", uri=True)) as connection:
            found = connection.execute("SELECT user_name, count FROM audit WHERE source = '127.0.0.7'")
            return [(str(name), int(count)) for name, count in found]

    for number in range(5):
        assert sign_in(server, f"nobody-{number}\nforged", address="127.0.0.7").status_code == 401
    assert rows() == [("(unknown)", 5)]
    assert "\nforged" not in server.log()


def test_lines_of_refused_signatures_name_address_and_key(server: Server) -> None:
    person = Person.made(server, "viewer")
    request = person.signed("GET", "instances")
    request.headers["Authorization"] = request.headers["Authorization"][:-4] + "0000"
    transport = httpx.HTTPTransport(local_address="127.0.0.8")
    with httpx.Client(transport=transport) as http:
        answers = [http.send(request).status_code for _ in range(40)]
    assert answers == [401] * 40
    lines = [line for line in server.log().splitlines() if person.key.access_key in line]
    assert 1 <= len(lines) <= 20, "their number is bounded"
    assert all("signature refused" in line and "127.0.0.8" in line for line in lines)


# The address of a client


def test_the_address_of_a_client_is_not_read_from_what_anybody_may_send(server: Server) -> None:
    admin = Person.made(server, "admin")
    forged = {"X-Forwarded-For": "203.0.113.1", "Forwarded": "for=203.0.113.1"}
    assert sign_in(server, admin.name, admin.project, address="127.0.0.9", headers=forged).status_code == 201
    assert admin.audit()[0]["source"] == "127.0.0.9"


def test_the_address_of_a_client_is_read_from_what_trusted_proxies_add(started: Callable[..., Server]) -> None:
    server = started("--trusted-proxy", "127.0.0.10", "--trusted-proxy", "198.51.100.0/24")
    admin = Person.made(server, "admin")
    forwarded = {"X-Forwarded-For": "192.0.2.66, 203.0.113.1, 198.51.100.7"}

    def source(address: str, headers: dict[str, str]) -> Any:
        assert sign_in(server, admin.name, admin.project, address=address, headers=headers).status_code == 201
        return admin.audit()[0]["source"]

    assert source("127.0.0.10", forwarded) == "203.0.113.1"
    assert source("127.0.0.11", forwarded) == "127.0.0.11"
    for _ in range(10):
        sign_in(server, admin.name, password="x", address="127.0.0.10", headers=forwarded)
    assert sign_in(server, admin.name, address="127.0.0.10", headers=forwarded).status_code == 429
    other = {"X-Forwarded-For": "203.0.113.2"}
    assert source("127.0.0.10", other) == "203.0.113.2"


@pytest.mark.parametrize("text", ["proxy", "10.0.0.1/8", "10.0.0.0/33", ""])
def test_what_is_no_proxy_is_told(tmp_path: Path, text: str) -> None:
    code, said = Server(tmp_path / "data", (*COMMAND, "--trusted-proxy", text)).refusal()
    assert code == 1
    assert said.startswith("cachewright: ")


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
    [("POST", "retry", None), ("POST", "cancel", None), ("PUT", "control", {"wish": "run", "latency_ceiling_ms": 0.1})],
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
    instance = Instance(
        id=instance_id,
        name="cache",
        status="ERROR",
        engine_version="7.0",
        spec_code="redis.cluster.xu1.large.r1.s1.1",
        seed_port=1,
        password=None,
        control_secret=uuid.uuid4().hex,
        attributes={},
        created_at=now,
        updated_at=now,
        **who,
    )
    task = Task(
        id=task_id,
        instance_id=instance_id,
        kind="delete",
        name="DeleteInstance",
        status="FAILED",
        params={},
        details={},
        created_at=now,
        end_time=now,
        error_code="DCS.9004",
        **who,
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
