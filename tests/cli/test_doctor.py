"""`cachewright doctor` reports faults, and changes nothing."""

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from serving import Server


def run(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cachewright", "doctor", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def findings(*words: str) -> tuple[int, dict[str, Any]]:
    ran = run(*words, "--json")
    return ran.returncode, {finding["name"]: finding for finding in json.loads(ran.stdout)}


def test_a_server_that_runs_is_well(server: Server) -> None:
    code, found = findings("--data-dir", str(server.data_dir))
    assert code == 0
    assert {finding["state"] for finding in found.values()} <= {"ok", "warn"}
    assert found["server"]["message"].startswith("runs and responds")
    assert found["database"]["message"] == "quick_check: ok"
    assert "are allocated to" in found["allocated"]["message"]
    assert "valkey-server" in run("--data-dir", str(server.data_dir)).stdout


def test_a_folder_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    code, found = findings("--data-dir", str(tmp_path / "data"), "--listen", "127.0.0.1:0")
    assert (code, found["data directory"]["state"], "database" in found) == (0, "ok", False)
    assert list(tmp_path.iterdir()) == []


def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, found = findings("--data-dir", str(tmp_path), "--listen", f"127.0.0.1:{port}")
    assert (code, found["port"]["state"]) == (1, "fail")
    assert found["port"]["remedy"]


def test_a_key_that_is_lost_and_a_folder_that_is_open_are_told(own_server: Server) -> None:
    own_server.stop()
    (own_server.data_dir / "secret.key").unlink()
    own_server.data_dir.chmod(0o755)
    code, found = findings("--data-dir", str(own_server.data_dir), "--listen", "127.0.0.1:0")
    assert (code, found["database"]["state"], found["data directory"]["state"]) == (1, "fail", "warn")
    assert not (own_server.data_dir / "secret.key").exists()


def test_a_database_that_is_damaged_is_told(own_server: Server) -> None:
    own_server.stop()
    for path in own_server.data_dir.glob("cachewright.db-*"):
        path.unlink()
    (own_server.data_dir / "cachewright.db").write_bytes(b"nonsense" * 4096)
    code, found = findings("--data-dir", str(own_server.data_dir), "--listen", "127.0.0.1:0")
    assert (code, found["database"]["state"]) == (1, "fail")


def test_a_server_that_is_frozen_is_told(own_server: Server) -> None:
    """It has the lock, and its credentials lead nowhere."""
    credentials = own_server.data_dir / "credentials.json"
    known = json.loads(credentials.read_text()) | {"endpoint": "http://127.0.0.1:1"}
    credentials.write_text(json.dumps(known))
    code, found = findings("--data-dir", str(own_server.data_dir))
    assert (code, found["server"]["state"]) == (1, "fail")
    assert "no response" in found["server"]["message"]


def test_an_address_of_another_host_is_reported(tmp_path: Path) -> None:
    code, found = findings("--data-dir", str(tmp_path), "--listen", "127.0.0.1:0", "--node-address", "192.0.2.1")
    assert (code, found["node address"]["state"]) == (1, "fail")


@pytest.mark.parametrize("listen", ["nowhere", "127.0.0.1:99999", ":1"])
def test_what_is_no_address_is_a_mistake(listen: str) -> None:
    ran = run("--listen", listen)
    assert ran.returncode == 2
    assert "Traceback" not in ran.stderr
