"""`cachewright migrations`, typed at a real server."""

from collections.abc import Callable
from typing import Any

from commands import Run
from sdk_calls import created


def test_migrations_are_started_shown_and_deleted(client: Any, run: Run, told: Callable[..., Any]) -> None:
    created(client, 1, name="typed-target")
    words = ("migrations", "start", "typed-move", "--from", "127.0.0.1:1", "--to", "typed-target", "--no-password")
    failed = run(*words, "--method", "full", "--wait")
    assert failed.returncode == 1
    assert "cannot be reached" in failed.stdout
    assert "typed-move" in run("migrations", "list").stdout
    shown = run("migrations", "show", "typed-move").stdout
    assert "FAILED" in shown
    assert "127.0.0.1:1" in shown
    assert "cannot be reached" in run("migrations", "log", "typed-move").stdout
    assert run("migrations", "set", "typed-move", "--resume", "manual").returncode == 0
    assert told("migrations", "show", "typed-move")["resume_mode"] == "manual"
    for action in ("stop", "cut-over"):
        refused = run("migrations", action, "typed-move")
        assert (refused.returncode, "DCS.4957" in refused.stderr) == (3, True)
    assert run("migrations", "restart", "typed-move", "--wait").returncode == 1
    assert "--tls-any-host needs --tls-ca" in run(*words, "--tls", "--tls-any-host").stderr
    wrong = run(*words[:4], "nowhere", *words[5:])
    assert (wrong.returncode, "DCS.4062" in wrong.stderr) == (3, True)
    assert run("migrations", "delete", "typed-move").returncode == 0
    assert run("migrations", "show", "typed-move").returncode == 2
