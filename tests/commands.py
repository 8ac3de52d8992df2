"""Run commands of the program as a user does."""

import io
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout

import pytest

from cachewright.cli import commands

CACHEWRIGHT = (sys.executable, "-m", "cachewright")
Run = Callable[..., subprocess.CompletedProcess[str]]


def run(*words: object, typed: str = "") -> subprocess.CompletedProcess[str]:
    command = [*CACHEWRIGHT, *map(str, words)]
    return subprocess.run(command, input=typed, capture_output=True, text=True, timeout=60, check=False)


def run_here(
    *words: object, environment: Mapping[str, str] | None = None, typed: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run a command in the process and the thread of the test, which takes a small part of the time of a new process.
    For tests that need what a command does. Tests of commands run them as a user does.

    :param environment: variables in addition to those of the tests. An empty one is removed.
    """
    command, printed, said = [str(word) for word in words], io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(printed), redirect_stderr(said):
        patch.setattr(sys, "stdin", io.StringIO(typed))
        for name, value in (environment or {}).items():
            patch.setenv(name, value) if value else patch.delenv(name, raising=False)
        status = commands.run(command)
    return subprocess.CompletedProcess(command, status, printed.getvalue(), said.getvalue())
