"""Commands over the API, typed at a real server."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from commands import Run, run_here
from serving import Server


@pytest.fixture
def run(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    def type_it(*words: str, typed: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        known = {"XDG_CONFIG_HOME": str(tmp_path), "CACHEWRIGHT_DATA_DIR": str(server.data_dir)}
        monkeypatch.chdir(tmp_path)
        return run_here(*words, environment=known | environment, typed=typed)

    return type_it


@pytest.fixture
def told(run: Run) -> Callable[..., Any]:
    """What a command prints as JSON."""

    def ask(*words: str, typed: str = "") -> Any:
        ran = run(*words, "--json", typed=typed)
        assert (ran.returncode, ran.stderr) == (0, "")
        return json.loads(ran.stdout)

    return ask
