"""Errors, profiles, environment variables and help of commands over the API."""

from pathlib import Path

import pytest

import commands
from commands import Run
from serving import Server


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("instances", "show", "nobody-of-this-name"), 1, "there is no instance"),
        (("instances", "show", "00000000-0000-4000-8000-000000000000"), 3, "DCS.3022"),
        (("instances", "create", "x!", "--no-password"), 3, "DCS.4010"),
        (("instances", "create", "cache", "--spec", "redis.nothing", "--no-password"), 2, "is not a spec code"),
        (("instances", "create", "cache", "--shards", "0"), 2, "Must be >= 1"),
        (("tasks", "show", "0" * 32), 3, "DCS.4958"),
        (("tasks", "watch", "0" * 32), 3, "DCS.4958"),
        (("tasks", "cancel", "x"), 1, "no task whose id ends with 'x'"),
        (("tasks", "cancel", "x" * 32), 3, "DCS.4070"),
        (("instances", "list", "--endpoint", "http://127.0.0.1:1"), 4, "no response from"),
        (("instances", "list", "--endpoint", "not a url"), 4, "not a url"),
        (("instances", "list", "--project-id", "0" * 32), 3, "DCS.1004"),
        (("instances", "list", "--profile", "nobody"), 2, "unknown profile"),
        (("instances", "list", "--data-dir", "/nowhere"), 2, "cannot read /nowhere"),
        (("profiles", "add", "a/b", "--from", "/nowhere"), 2, "cannot read /nowhere"),
        (("instances", "explode"), 2, "explode"),
        (("instances", "parameters", "nobody-of-this-name"), 1, "there is no instance"),
        (("plan", "resize"), 2, "requires an argument"),
    ],
)
def test_a_mistake_is_told_in_a_line_with_its_exit_code(run: Run, words: tuple[str, ...], code: int, said: str) -> None:
    ran = run(*words)
    assert (ran.returncode, ran.stdout if code != 2 else "") == (code, "")
    assert said in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_profile_is_added_used_and_removed(server: Server, run: Run, tmp_path: Path) -> None:
    nothing = {"CACHEWRIGHT_DATA_DIR": ""}
    assert run("instances", "list", **nothing).returncode == 2
    added = run("profiles", "add", "home", "--from", str(server.data_dir / "credentials.json"), **nothing)
    assert (added.returncode, added.stderr) == (0, "")
    listed = run("profiles", "list", **nothing).stdout
    assert "home" in listed
    assert server.credentials["secret_key"] not in listed
    assert run("instances", "list", **nothing).returncode == 0
    assert run("profiles", "remove", "home", **nothing).returncode == 0
    assert run("instances", "list", **nothing).returncode == 2


def test_the_sdks_environment_is_understood(server: Server, run: Run) -> None:
    known = server.credentials
    ran = run(
        "instances",
        "list",
        CACHEWRIGHT_DATA_DIR="",
        HUAWEICLOUD_SDK_AK=known["access_key"],
        HUAWEICLOUD_SDK_SK=known["secret_key"],
        HUAWEICLOUD_SDK_PROJECT_ID=known["project_id"],
        HUAWEICLOUD_SDK_REGION_DCS_LOCAL=known["endpoint"],
    )
    assert (ran.returncode, ran.stderr) == (0, "")


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("backups",),
        ("hosts", "drain"),
        ("instances", "parameters", "set"),
        ("migrations",),
        ("plan", "resize"),
        ("profiles",),
        ("servers",),
        ("tasks", "watch"),
        ("templates",),
        ("users", "grant"),
    ],
)
def test_each_command_starts_alone_and_says_what_there_is(words: tuple[str, ...]) -> None:
    """In a process of its own, where no other command has imported anything."""
    ran = commands.run(*words, "--help")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "Usage: cachewright" in ran.stdout
