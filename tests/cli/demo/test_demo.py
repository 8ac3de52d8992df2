"""The demo itself, on a real server, small."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from postgres_server import PostgresServer

pytestmark = pytest.mark.server
SMALL = ("--keys", "3000", "--from", "2", "--to", "3")


def command(data_dir: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "cachewright", "demo", *SMALL, "--data-dir", str(data_dir), *more]


def processes_of(data_dir: Path) -> list[list[str]]:
    lines = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
    return [words for words in lines if any(str(data_dir) in word for word in words)]


def test_it_ends_well_and_its_json_is_all_that_standard_output_gets(tmp_path: Path) -> None:
    done = subprocess.run(command(tmp_path / "data", "--json"), capture_output=True, timeout=300, check=False)
    said = json.loads(done.stdout)
    assert (said["ok"], said["failures"], done.returncode) == (True, [], 0), done.stderr.decode()
    report = said["report"]
    assert (report["scale_out"]["to_shards"], report["scale_in"]["to_shards"]) == (3, 2)
    assert report["scale_out"]["moved"]["keys"] > 500
    assert report["traffic"]["acknowledged"] > 1000
    assert report["data"] == {"checked": 3000, "missing": 0, "changed": 0, "examples": []}
    assert b"Slot migration." in done.stderr
    assert not processes_of(tmp_path)


def test_it_ends_well_on_postgres(tmp_path: Path, postgres: PostgresServer) -> None:
    environment = {**os.environ, "CACHEWRIGHT_DATABASE_URL": postgres.new_database()}
    words = command(tmp_path / "data", "--json")
    done = subprocess.run(words, capture_output=True, timeout=300, check=False, env=environment)
    said = json.loads(done.stdout)
    assert (said["ok"], said["failures"], done.returncode) == (True, [], 0), done.stderr.decode()
    assert said["report"]["data"] == {"checked": 3000, "missing": 0, "changed": 0, "examples": []}
    assert said["report"]["traffic"]["acknowledged"] > 1000
    assert not processes_of(tmp_path)


def test_when_it_is_ended_nothing_stays_behind(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as file, subprocess.Popen(command(tmp_path / "data"), stdout=file) as demo:
        while b"operations/s" not in log.read_bytes():
            assert demo.poll() is None
            time.sleep(0.1)
        demo.send_signal(signal.SIGTERM)
        assert demo.wait(60) == 1
    assert b"Deleting the instance" in log.read_bytes()
    assert b"FAILED: interrupted" in log.read_bytes()
    assert not processes_of(tmp_path)
