"""Attacks on sign-in: floods, guesses, invented names and forged addresses."""

import json
import sqlite3
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from identities import Person, send, sign_in

from serving import COMMAND, Server, http_client

FLOODERS = 12


@pytest.fixture(scope="module")
def server(started: Callable[..., Server]) -> Server:
    return started()


@contextmanager
def flood(server: Server, address: str) -> Iterator[None]:
    """Clients at one address that sign in with invented names, without a pause."""
    over = threading.Event()

    def invent() -> None:
        with http_client(address) as http:
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
        assert sign_in(server, f"unknown-{number}\nforged", address="127.0.0.7").status_code == 401
    assert rows() == [("(unknown)", 5)]
    assert "\nforged" not in server.log()


def test_lines_of_refused_signatures_name_address_and_key(server: Server) -> None:
    person = Person.made(server, "viewer")
    request = person.signed("GET", "instances")
    request.headers["Authorization"] = request.headers["Authorization"][:-4] + "0000"
    with http_client("127.0.0.8") as http:
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
