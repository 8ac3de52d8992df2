"""Faults of one person are no fault of the server: what is damaged, open to others, or meant to mislead."""

import json
import os
import re
import shutil
import sqlite3
import stat
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme
from cryptography.fernet import Fernet
from huaweicloudsdkcore.utils.http_utils import sanitize_for_serialization
from huaweicloudsdkdcs.v2 import DeleteSingleInstanceRequest, ResourceTag

from serving import COMMAND, PASSWORD, Server, create, create_body, ended, newest_task, until

CACHEWRIGHT = (sys.executable, "-m", "cachewright")
ROOT = "user"
"""The finding of `doctor` about the user that it runs as."""


def run(*words: object, typed: str = "") -> subprocess.CompletedProcess[str]:
    command = [*CACHEWRIGHT, *map(str, words)]
    return subprocess.run(command, input=typed, capture_output=True, text=True, timeout=60, check=False)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def findings(*words: object) -> dict[str, list[dict[str, str]]]:
    """Of `cachewright doctor`, by name."""
    found: dict[str, list[dict[str, str]]] = {}
    for finding in json.loads(run("doctor", *words, "--json").stdout):
        found.setdefault(finding["name"], []).append(finding)
    return found


@pytest.fixture(scope="module")
def used_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder that a server has worked on."""
    server = Server(tmp_path_factory.mktemp("used") / "data")
    try:
        server.start()
        server.stop()
    finally:
        server.clean_up()
    with sqlite3.connect(server.data_dir / "cachewright.db") as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return server.data_dir


@pytest.fixture
def stopped(tmp_path: Path, used_folder: Path) -> Iterator[Server]:
    """A server for a copy of that folder, not started."""
    shutil.copytree(used_folder, tmp_path / "data")
    server = Server(tmp_path / "data")
    yield server
    server.clean_up()


def damage(server: Server, how: str, table: str = "access_keys") -> None:
    database = server.data_dir / "cachewright.db"
    content = database.read_bytes()
    with sqlite3.connect(database) as connection:
        (size,) = connection.execute("PRAGMA page_size").fetchone()
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()
    connection.close()
    for log in server.data_dir.glob("cachewright.db-*"):
        log.unlink()
    if how == "garbage":
        content = b"nonsense" * 4096
    else:
        content = content[: (page - 1) * size] + b"\xde" * size + content[page * size :]
    database.write_bytes(content)


@pytest.mark.parametrize("how", ["garbage", "one page"])
def test_a_damaged_database_is_one_line(stopped: Server, how: str) -> None:
    damage(stopped, how)
    expected = rf"cachewright: cannot use {stopped.data_dir}: the database is damaged \(.+\); restore it .+\n"
    code, said = stopped.refusal()
    assert (code, re.fullmatch(expected, said) is not None) == (1, True), said
    listed = run("users", "list", "--data-dir", stopped.data_dir)
    assert (listed.returncode, re.fullmatch(expected, listed.stderr) is not None) == (1, True), listed.stderr
    (finding,) = findings("--data-dir", stopped.data_dir, "--listen", "127.0.0.1:0")["database"]
    assert finding["state"] == "fail"
    assert "damaged" in finding["told"]


def test_a_damaged_database_without_its_key_is_one_line(stopped: Server) -> None:
    damage(stopped, "garbage")
    (stopped.data_dir / "secret.key").unlink()
    code, said = stopped.refusal()
    assert (code, said.count("\n"), "damaged" in said) == (1, 1, True), said
    assert not (stopped.data_dir / "secret.key").exists()


def test_a_page_that_is_not_read_at_the_start_is_found_by_doctor(stopped: Server) -> None:
    damage(stopped, "one page", "webhooks")
    (finding,) = findings("--data-dir", stopped.data_dir, "--listen", "127.0.0.1:0")["database"]
    assert finding["state"] == "fail"


def test_a_wrong_key_is_named(stopped: Server, tmp_path: Path) -> None:
    other = tmp_path / "other.key"
    other.write_bytes(Fernet.generate_key())
    expected = f"cachewright: {other}: a secret in the database was sealed with another key\n"
    assert Server(stopped.data_dir, (*COMMAND, "--secret-key-file", str(other))).refusal() == (1, expected)
    listed = run("users", "list", "--data-dir", stopped.data_dir, "--secret-key-file", other)
    assert (listed.returncode, listed.stderr) == (1, expected)
    other.write_bytes(b"nonsense")
    code, said = Server(stopped.data_dir, (*COMMAND, "--secret-key-file", str(other))).refusal()
    assert (code, str(other) in said, said.count("\n")) == (1, True, 1)


def test_what_others_could_read_is_taken_from_them_and_logged(stopped: Server) -> None:
    names = ("secret.key", "credentials.json", "metrics.token", "server.lock", "cachewright.db")
    stopped.data_dir.chmod(0o755)
    for name in names:
        (stopped.data_dir / name).chmod(0o644)
    told = findings("--data-dir", stopped.data_dir, "--listen", "127.0.0.1:0")
    assert told["data folder"][0]["state"] == "warn"
    assert {finding["told"].split()[4] for finding in told["files"]} == {str(stopped.data_dir / name) for name in names}
    stopped.start()
    assert mode(stopped.data_dir) == 0o700
    assert {name: mode(stopped.data_dir / name) for name in names} == dict.fromkeys(names, 0o600)
    log = stopped.log()
    for path in (stopped.data_dir, *(stopped.data_dir / name for name in names if name != "credentials.json")):
        assert f"other users could read {path} " in log
    assert "files" not in findings("--data-dir", stopped.data_dir)


def test_a_link_in_the_folder_leads_nowhere(tmp_path: Path) -> None:
    folder, target = tmp_path / "data", tmp_path / "target"
    target.write_text("not the server's")
    target.chmod(0o644)
    folder.mkdir(mode=0o777)
    (folder / "metrics.token").symlink_to(target)
    (folder / "credentials.partial").symlink_to(target)
    server = Server(folder)
    try:
        server.start()
        server.stop()
    finally:
        server.clean_up()
    (folder / "server.lock").unlink()
    (folder / "server.lock").symlink_to(target)
    code, said = Server(folder).refusal()
    assert (code, said.count("\n")) == (1, 1), said
    assert (mode(target), target.read_text()) == (0o644, "not the server's")


def test_a_key_elsewhere_that_others_may_read_is_logged(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_bytes(Fernet.generate_key())
    key.chmod(0o644)
    server = Server(tmp_path / "data", (*COMMAND, "--secret-key-file", str(key)))
    try:
        server.start()
        assert f"other users may read {key} (mode 644)" in server.log()
        assert mode(key) == 0o644, "it is not the server's to change"
    finally:
        server.clean_up()


def test_a_lock_is_nobody_elses(server: Server) -> None:
    assert mode(server.data_dir / "server.lock") == 0o600


def test_root_is_told(server: Server) -> None:
    as_root = os.geteuid() == 0
    assert ("run as root" in server.log()) == as_root
    assert (ROOT in findings("--data-dir", server.data_dir)) == as_root


def test_an_address_without_tls_that_others_reach_is_told(server: Server, tmp_path: Path) -> None:
    (finding,) = findings("--data-dir", tmp_path, "--listen", "0.0.0.0:0")["network"]
    assert (finding["state"], "http://0.0.0.0:" in finding["told"]) == ("warn", True)
    told = "is not encrypted, and it is not on loopback"
    assert told in started_once(tmp_path / "open", "--listen", "0.0.0.0:0")
    assert "network" not in findings("--data-dir", server.data_dir)
    assert told not in server.log()


def started_once(folder: Path, *words: str) -> str:
    """Its log."""
    log = folder.with_suffix(".log")
    with log.open("wb") as file:
        process = subprocess.Popen([*COMMAND, "--data-dir", folder, *words], stdout=file, stderr=file)
    try:
        until(lambda: b"Cachewright serves" in log.read_bytes(), "the server does not start")
    finally:
        process.terminate()
        process.wait(30)
    return log.read_text()


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Speaks HTTPS, and is reached by another URL."""
    folder = tmp_path_factory.mktemp("secure")
    issued = trustme.CA().issue_cert("127.0.0.1")
    cert, key = folder / "cert.pem", folder / "key.pem"
    issued.cert_chain_pems[0].write_to_path(cert)
    issued.private_key_pem.write_to_path(key)
    public = ("--public-url", "https://caches.example.com:8443/")
    started = Server(folder / "data", (*COMMAND, "--tls-cert", str(cert), "--tls-key", str(key), *public))
    try:
        started.start()
        yield started
    finally:
        started.clean_up()


@pytest.fixture(scope="module")
def http() -> Iterator[httpx.Client]:
    with httpx.Client(verify=False) as client:  # noqa: S501  # the certificate is not what is tested
        yield client


def answers_of(server: Server, http: httpx.Client) -> dict[str, httpx.Response]:
    """Of every part of the server that makes answers by itself."""
    root = server.credentials["endpoint"]
    known = {path: http.get(root + path) for path in ("/docs", "/console", "/openapi.json", "/metrics", "/nothing")}
    known["instances"] = http.send(server.signed("GET", "instances"))
    known["too long"] = http.get(root + "/docs?" + "a" * 9000)
    return known


def test_browsers_are_told_what_not_to_do(server: Server, http: httpx.Client) -> None:
    for name, answer in answers_of(server, http).items():
        assert answer.headers.get_list("x-content-type-options") == ["nosniff"], name
        assert "strict-transport-security" not in answer.headers, name
        if name in {"/docs", "/console"}:
            assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
            assert answer.headers.get_list("referrer-policy") == ["no-referrer"]


def test_with_tls_browsers_keep_to_it(secure: Server, http: httpx.Client) -> None:
    for name, answer in answers_of(secure, http).items():
        assert answer.headers.get_list("strict-transport-security") == ["max-age=31536000"], name


def test_progress_has_the_same_headers(server: Server, http: httpx.Client, task: tuple[str, str]) -> None:
    answer = http.send(server.signed("GET", f"instances/{task[0]}/tasks/{task[1]}/progress"))
    assert answer.status_code == 200
    assert answer.headers.get_list("x-content-type-options") == ["nosniff"]


@pytest.fixture
def instance_id(server: Server) -> Iterator[str]:
    client = server.client()
    made = create(client, tags=[ResourceTag(key="team", value="a")])
    yield made
    ended(client, made, newest_task(client, made).id)
    client.delete_single_instance(DeleteSingleInstanceRequest(instance_id=made))


@pytest.fixture
def task(server: Server, instance_id: str) -> tuple[str, str]:
    """An instance and its creation."""
    return instance_id, str(newest_task(server.client(), instance_id).id)


class Session:
    """A user with a password, who asks what a token is good for: the answer has links."""

    def __init__(self, server: Server, http: httpx.Client) -> None:
        self._root, self._http = server.credentials["endpoint"], http
        self.name = f"reader-{uuid.uuid4().hex[:8]}"
        words = ("users", "create", self.name, "--role", "viewer", "--project", "local", "--password-stdin")
        made = run(*words, "--data-dir", server.data_dir, typed=f"{PASSWORD}\n")
        assert made.returncode == 0, made.stderr
        user = {"name": self.name, "password": PASSWORD, "domain": {"name": "cachewright"}}
        scope = {"project": {"name": "local"}}
        body = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}}
        answer = http.post(f"{self._root}/v3/auth/tokens", json=body)
        assert answer.status_code == 201, answer.text
        self._token = answer.headers["x-subject-token"]

    def links(self, host: str | None = None) -> set[str]:
        """Scheme and host of each link in the catalogue; none where the request is refused."""
        headers = {"X-Auth-Token": self._token, "X-Subject-Token": self._token, **({"Host": host} if host else {})}
        answer = self._http.get(f"{self._root}/v3/auth/tokens", headers=headers)
        if answer.status_code == 400:
            return set()
        assert answer.status_code == 200, answer.text
        found = re.findall(r'"url":"(.+?)/(?:v[23][^"]*)?"', answer.text)
        assert found
        assert len(found) == answer.text.count('"url":')
        return set(found)


@pytest.fixture(scope="module")
def session(server: Server, http: httpx.Client) -> Iterator[Session]:
    made = Session(server, http)
    yield made
    run("users", "remove", made.name, "--data-dir", server.data_dir)


@pytest.mark.parametrize("host", ["caches.example.com", "10.1.2.3:80", "[::1]:8765", "a_b.example."])
def test_links_have_the_host_of_the_request(session: Session, host: str) -> None:
    assert session.links(host) == {f"http://{host}"}


@pytest.mark.parametrize(
    "host",
    [
        '"><script>alert(1)</script>',
        "user@evil.example",
        "evil.example/path",
        "evil.example?a",
        "evil.example:80:80",
        "evil.example:port",
        "[evil.example]",
        "a b",
        "-",
        "evil.example#",
    ],
)
def test_a_host_that_is_none_gets_into_no_link(session: Session, server: Server, host: str) -> None:
    assert session.links(host) <= {server.credentials["endpoint"]}


def test_links_have_the_public_url_whatever_a_request_says(secure: Server, http: httpx.Client) -> None:
    session = Session(secure, http)
    for host in (None, "evil.example"):
        assert session.links(host) == {"https://caches.example.com:8443"}


def test_what_is_no_public_url_is_refused_in_a_line(tmp_path: Path) -> None:
    code, said = Server(tmp_path / "data", (*COMMAND, "--public-url", "ftp://a")).refusal()
    assert (code, said.count("\n"), said.startswith("cachewright: ")) == (1, 1, True)


CONTROLS = ["a\0b", "a\nb", "a\tb", "a\x1b[31mb", "a\x7fb", "a\x85b", "a\u202eb", "a\u2066b"]
TAGS: list[Mapping[str, str]] = [
    *(
        {"key": text, "value": "v"}
        for text in (*CONTROLS, "<b>", "a/b", "a,b", "a*b", " a", "a ", "_sys_a", "a\u200db")
    ),
    *({"key": "k", "value": text} for text in (*CONTROLS, "<b>", "a,b", " a", "a ", "a\u2028b")),
]
GOOD_TAGS: list[Mapping[str, str]] = [
    {"key": "cost centre_1.2:3=4+5-6@7", "value": "a/b c_1.2:3=4+5-6@7"},
    {"key": "\u6210\u672c", "value": "\u0915\u093f\u0924\u093e\u092c"},
    {"key": "empty", "value": ""},
]


@pytest.mark.parametrize("tag", TAGS, ids=ascii)
def test_tags_that_mislead_are_refused(server: Server, tag: Mapping[str, str]) -> None:
    body = sanitize_for_serialization(create_body()) | {"tags": [{"key": "team"}, tag]}
    status, answer = server.call("POST", "instances", body)
    assert (status, answer["error_code"]) == (400, "DCS.4062")
    assert "tags[1]." in answer["error_msg"]
    assert not set(CONTROLS) & {answer["error_msg"]}


@pytest.mark.parametrize("text", [text for text in CONTROLS if not set(text) & set("\n\t")] + ["a\rb"], ids=ascii)
def test_descriptions_have_no_control_characters(server: Server, text: str) -> None:
    body = sanitize_for_serialization(create_body())
    status, answer = server.call("POST", "instances", body | {"description": text})
    assert (status, answer["error_code"]) == (400, "DCS.4011")


@pytest.mark.parametrize(
    ("field", "code"),
    [
        ("vpc_id", "DCS.4013"),
        ("subnet_id", "DCS.4016"),
        ("security_group_id", "DCS.4014"),
        ("enterprise_project_id", "DCS.4062"),
        ("enterprise_project_name", "DCS.4062"),
    ],
)
def test_labels_have_no_control_characters(server: Server, field: str, code: str) -> None:
    body = sanitize_for_serialization(create_body())
    for text in CONTROLS:
        status, answer = server.call("POST", "instances", body | {field: text})
        assert (status, answer["error_code"]) == (400, code)


def test_tags_and_descriptions_of_an_instance_are_held_to_the_same(server: Server, instance_id: str) -> None:
    def act(action: str, *tags: Mapping[str, str]) -> tuple[int, Any]:
        return server.call("POST", f"dcs/{instance_id}/tags/action", {"action": action, "tags": tags})

    for tag in TAGS:
        assert act("create", tag)[0] == 400, tag
    assert act("create", *GOOD_TAGS)[0] == 204
    shown = server.call("GET", f"instances/{instance_id}/tags")[1]["tags"]
    assert shown == [{"key": "team", "value": "a"}, *GOOD_TAGS]
    assert act("delete", *GOOD_TAGS)[0] == 204
    status, answer = server.call("PUT", f"instances/{instance_id}", {"description": "a\x1b[31mb"})
    assert (status, answer["error_code"]) == (400, "DCS.4011")
    assert server.call("PUT", f"instances/{instance_id}", {"description": "two\nlines\tand a tab"})[0] == 204


def test_tags_that_an_older_release_took_can_be_read_and_deleted(server: Server, instance_id: str) -> None:
    old = [{"key": "a\nb", "value": "<b>\u202e"}]
    with sqlite3.connect(server.data_dir / "cachewright.db", timeout=30) as connection:
        stored = connection.execute("SELECT attributes FROM instances WHERE id = ?", (instance_id,)).fetchone()[0]
        attributes = json.dumps(json.loads(stored) | {"tags": old, "description": "a\0b"})
        connection.execute("UPDATE instances SET attributes = ? WHERE id = ?", (attributes, instance_id))
    connection.close()
    assert server.call("GET", f"instances/{instance_id}/tags")[1]["tags"] == old
    shown = server.call("GET", f"instances/{instance_id}")[1]
    assert (shown["tags"], shown["description"]) == (old, "a\0b")
    path = f"dcs/{instance_id}/tags/action"
    assert server.call("POST", path, {"action": "create", "tags": [{"key": "new", "value": "1"}]})[0] == 204
    assert server.call("POST", path, {"action": "delete", "tags": old})[0] == 204
    assert server.call("GET", f"instances/{instance_id}/tags")[1]["tags"] == [{"key": "new", "value": "1"}]
