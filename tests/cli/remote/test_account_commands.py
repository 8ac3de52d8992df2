"""`cachewright instances accounts`, typed at a real server."""

from collections.abc import Callable
from typing import Any

from valkey import Valkey

from commands import Run
from sdk_calls import PASSWORD, created, show


def test_accounts_are_created_changed_and_deleted(client: Any, run: Run, told: Callable[..., Any]) -> None:
    instance_id = created(client, 1, name="guarded")
    words = ("instances", "accounts")
    made = run(*words, "create", "guarded", "reports", "--role", "read", "--password-stdin", "--wait", typed=PASSWORD)
    assert made.returncode == 0, made.stderr
    assert PASSWORD not in made.stdout
    assert run(*words, "set-role", "guarded", "reports", "write", "--wait").returncode == 0
    assert run(*words, "describe", "guarded", "reports", "of the shop").returncode == 0
    new = "New-password-2"
    for account in ("reports", "default"):
        changed = run(*words, "set-password", "guarded", account, "--password-stdin", "--wait", typed=new)
        assert changed.returncode == 0, changed.stderr
    shown = show(client, instance_id)
    for user in ("reports", "default"):
        with Valkey(host=shown.ip, port=shown.port, username=user, password=new) as node:
            assert node.ping()
    assert run(*words, "disable-commands", "guarded", "keys", "--wait").returncode == 0
    listed = told(*words, "guarded")
    assert listed["disabled_commands"] == ["keys"]
    assert [(one["account_name"], one["account_role"], one["description"]) for one in listed["accounts"]] == [
        ("default", "write", ""),
        ("reports", "write", "of the shop"),
    ]
    table = run(*words, "guarded").stdout
    assert "reports" in table
    assert "Disabled commands: keys" in table
    assert run(*words, "delete", "guarded", "reports", "--wait").returncode == 0
    missing = run(*words, "delete", "guarded", "reports")
    assert (missing.returncode, "there is no account" in missing.stderr) == (1, True)
    assert run(*words, "set-password", "guarded", "reports", "--no-password").returncode != 0
    assert run(*words, "set-password", "guarded", "--no-password", "--wait").returncode == 0
    assert show(client, instance_id).no_password_access == "true"
