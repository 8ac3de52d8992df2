"""A data directory that is damaged or open to others, and a server that others can reach."""

import json
import os
import re
import shutil
import sqlite3
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from commands import run
from serving import COMMAND, Server, until

ROOT = "user"
"""The finding of `doctor` about the user that it runs as."""


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
    """A data directory that a server has worked on."""
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
    assert "damaged" in finding["message"]


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
    assert told["data directory"][0]["state"] == "warn"
    readable = {finding["message"].split()[4] for finding in told["files"]}
    assert readable == {str(stopped.data_dir / name) for name in names}
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
        assert f"other users can read {key} (mode 644)" in server.log()
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
    assert (finding["state"], "http://0.0.0.0:" in finding["message"]) == ("warn", True)
    told = "is not encrypted and not on loopback"
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
