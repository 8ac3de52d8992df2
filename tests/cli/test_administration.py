"""`cachewright users`, `projects`, `keys` and `hosts`, beside the server that they change."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from huaweicloudsdkcore.exceptions.exceptions import ClientRequestException
from huaweicloudsdkdcs.v2 import ListInstancesRequest

from serving import Server, http_client, until

CACHEWRIGHT = (sys.executable, "-m", "cachewright")
PASSWORD = "Some-password-1"


def run(server: Server, *words: str, typed: str = "") -> subprocess.CompletedProcess[str]:
    command = [*CACHEWRIGHT, *words, "--data-dir", str(server.data_dir)]
    return subprocess.run(command, input=typed, capture_output=True, text=True, timeout=60, check=False)


def done(server: Server, *words: str, typed: str = "") -> str:
    ran = run(server, *words, typed=typed)
    assert (ran.returncode, ran.stderr) == (0, "")
    return ran.stdout


def made(server: Server, *words: str) -> dict[str, str]:
    key: dict[str, str] = json.loads(done(server, *words))
    return {name: key[name] for name in ("access_key", "secret_key", "project_id")}


def works(server: Server, key: dict[str, str]) -> bool:
    try:
        server.client(**key).list_instances(ListInstancesRequest())
    except ClientRequestException as refused:
        return bool(refused.status_code != 401)
    return True


def sign_in(server: Server, name: str, password: str) -> int:
    user = {"name": name, "password": password, "domain": {"name": "cachewright"}}
    body = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}}}
    with http_client() as http:
        return http.post(f"{server.credentials['endpoint']}/v3/auth/tokens", json=body).status_code


def test_a_user_is_made_given_a_key_and_taken_away(own_server: Server) -> None:
    server = own_server
    done(server, "projects", "create", "shop")
    done(server, "users", "create", "alice", "--role", "viewer", "--project", "shop")
    key = made(server, "keys", "create", "alice")
    assert works(server, key)
    assert server.log().count(key["secret_key"]) == 0

    done(server, "keys", "disable", key["access_key"])
    assert not works(server, key)
    done(server, "keys", "enable", key["access_key"])
    assert works(server, key)

    rotated = made(server, "keys", "rotate", key["access_key"])
    assert (works(server, key), works(server, rotated)) == (False, True)
    done(server, "keys", "delete", key["access_key"])

    done(server, "users", "disable", "alice")
    assert not works(server, rotated)
    done(server, "users", "enable", "alice")
    assert works(server, rotated)
    done(server, "users", "revoke", "alice", "--project", "shop")
    assert not works(server, rotated)
    done(server, "users", "grant", "alice", "admin", "--project", "shop")

    listed: list[dict[str, Any]] = json.loads(done(server, "users", "list", "--json"))
    assert [(user["name"], user["roles"]) for user in listed] == [
        ("admin", {"local": "admin"}),
        ("alice", {"shop": "admin"}),
    ]
    assert "alice" in done(server, "users", "list")
    assert rotated["secret_key"] not in done(server, "keys", "list") + done(server, "keys", "list", "--json")
    assert "shop" in done(server, "projects", "list")

    known = server.client(**rotated)
    assert known.list_instances(ListInstancesRequest()).instance_num == 0
    with httpx.Client(timeout=60) as http:
        first = server.credentials | rotated
        (server.data_dir / "credentials.json").write_text(json.dumps(first))
        entries = http.send(server.signed("GET", "audit")).json()["entries"]
    assert [entry["action"] for entry in entries][:2] == ["iam:users:grant", "iam:users:revoke"]
    assert {entry["credential"] for entry in entries} == {"command line"}

    done(server, "users", "delete", "alice")
    assert not works(server, rotated)


def test_a_password_is_read_and_works_and_changes(own_server: Server) -> None:
    done(own_server, "users", "create", "bob", "--role", "viewer", "--password-stdin", typed=f"{PASSWORD}\n")
    assert sign_in(own_server, "bob", PASSWORD) == 201
    done(own_server, "users", "set-password", "bob", "--password-stdin", typed="Another-password-1\n")
    assert sign_in(own_server, "bob", PASSWORD) == 401
    assert sign_in(own_server, "bob", "Another-password-1") == 201


def test_a_password_is_asked_for_without_being_shown(server: Server) -> None:
    screen, terminal = pty.openpty()
    command = [*CACHEWRIGHT, "users", "set-password", "nobody", "--data-dir", str(server.data_dir)]
    process = subprocess.Popen(command, stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True)
    os.close(terminal)
    shown = b""
    for prompt in (b"New password: ", b"Repeat the password: "):
        while not shown.endswith(prompt):
            shown += os.read(screen, 1024)
        os.write(screen, PASSWORD.encode() + b"\n")
    while b"no user" not in shown:
        shown += os.read(screen, 1024)
    assert process.wait(timeout=30) == 1
    os.close(screen)
    assert PASSWORD.encode() not in shown


def test_a_password_is_not_read_where_it_would_be_shown(server: Server) -> None:
    command = [*CACHEWRIGHT, "users", "set-password", "nobody", "--data-dir", str(server.data_dir)]
    ran = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        start_new_session=True,
        timeout=60,
        check=False,
    )
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == "cachewright: no terminal to read a secret from; see the options for standard input\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("users", "create", "admin"), "there is a user 'admin' already"),
        (("users", "create", "no name"), "invalid name"),
        (("users", "create", "carol", "--role", "viewer", "--project", "nowhere"), "no project 'nowhere'"),
        (("users", "delete", "nobody"), "no user 'nobody'"),
        (("keys", "create", "nobody"), "no user 'nobody'"),
        (("keys", "rotate", "NOTHING"), "no key 'NOTHING'"),
        (("keys", "disable", "NOTHING"), "no key 'NOTHING'"),
        (("projects", "create", "local"), "there is a project 'local' already"),
    ],
)
def test_what_cannot_be_is_told_in_a_line_and_changes_nothing(
    server: Server, words: tuple[str, ...], said: str
) -> None:
    before = done(server, "users", "list", "--json")
    ran = run(server, *words)
    assert ran.returncode == 1
    assert said in ran.stderr
    assert ran.stderr.count("\n") == 1
    assert done(server, "users", "list", "--json") == before


def test_a_short_password_is_refused(server: Server) -> None:
    ran = run(server, "users", "create", "carol", "--password-stdin", typed="short\n")
    assert (ran.returncode, "8 to 128 characters" in ran.stderr) == (1, True)


def test_a_folder_that_no_server_has_used_is_told(tmp_path: Path) -> None:
    ran = run(Server(tmp_path), "users", "list")
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "no server of this release has run" in ran.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_restart_writes_credentials_that_work(own_server: Server) -> None:
    """Those of the first key, until it is rotated; then those of the next."""
    first = own_server.credentials["access_key"]
    made(own_server, "keys", "rotate", first)
    own_server.stop()
    own_server.start()
    assert own_server.credentials["access_key"] != first
    assert works(own_server, {})


def test_without_any_key_that_works_there_are_no_credentials(own_server: Server) -> None:
    done(own_server, "keys", "delete", own_server.credentials["access_key"])
    own_server.stop()
    command = [*own_server.command, "--data-dir", own_server.data_dir, "--listen", "127.0.0.1:0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as own_server.process:
        assert own_server.process.stdout
        said = ""
        while "Cachewright serves" not in said:
            said += own_server.process.stdout.readline()
        assert own_server.stop() == 0
    assert "cachewright keys create" in said
    assert not (own_server.data_dir / "credentials.json").exists()


def test_hosts_are_listed_labelled_and_cordoned(own_server: Server) -> None:
    server = own_server
    (listed,) = json.loads(done(server, "hosts", "list", "--json"))
    assert (listed["name"], listed["zone"], listed["state"], listed["nodes"]) == ("local", "local", "active", 0)
    assert listed["memory_gb"] > 0
    done(server, "hosts", "label", "local", "--zone", "az1")
    done(server, "hosts", "cordon", "local")
    assert "cordoned" in done(server, "hosts", "show", "local")
    assert server.call("GET", "hosts")[1]["hosts"][0]["state"] == "cordoned"
    finding = json.loads(run(server, "doctor", "--json").stdout)
    assert [found["state"] for found in finding if found["name"] == "hosts"] == ["warn"]
    done(server, "hosts", "uncordon", "local")
    until(lambda: json.loads(done(server, "servers", "list", "--json")), "the server reports")
    (running,) = json.loads(done(server, "servers", "list", "--json"))
    assert (running["performs_tasks"], running["reporting"], running["epoch"]) == (True, True, None)
    assert server.credentials["endpoint"] == f"http://{running['listen']}"
    assert "s ago" in done(server, "servers", "list")
    assert json.loads(done(server, "servers", "takeovers", "--json")) == []
    assert "tasks are performed on" in next(found["message"] for found in finding if found["name"] == "servers")
    refused = run(server, "hosts", "cordon", "other")
    assert (refused.returncode, refused.stderr) == (1, "cachewright: there is no host 'other'; there is: local\n")
