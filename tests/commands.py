"""Run commands of the program as a user does."""

import subprocess
import sys
from collections.abc import Callable

CACHEWRIGHT = (sys.executable, "-m", "cachewright")
Run = Callable[..., subprocess.CompletedProcess[str]]


def run(*words: object, typed: str = "") -> subprocess.CompletedProcess[str]:
    command = [*CACHEWRIGHT, *map(str, words)]
    return subprocess.run(command, input=typed, capture_output=True, text=True, timeout=60, check=False)
