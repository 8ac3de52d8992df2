"""Commands over the API, typed at a real server."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from commands import CACHEWRIGHT, Run
from serving import Server


@pytest.fixture
def run(server: Server, tmp_path: Path) -> Run:
    def type_it(*words: str, typed: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "XDG_CONFIG_HOME": str(tmp_path), "CACHEWRIGHT_DATA_DIR": str(server.data_dir)}
        command = [*CACHEWRIGHT, *words]
        env = {name: value for name, value in (env | environment).items() if value}
        return subprocess.run(
            command, input=typed, capture_output=True, text=True, timeout=120, check=False, env=env, cwd=tmp_path
        )

    return type_it


@pytest.fixture
def told(run: Run) -> Callable[..., Any]:
    """What a command prints as JSON."""

    def ask(*words: str, typed: str = "") -> Any:
        ran = run(*words, "--json", typed=typed)
        assert (ran.returncode, ran.stderr) == (0, "")
        return json.loads(ran.stdout)

    return ask
