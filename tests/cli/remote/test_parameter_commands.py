"""`cachewright instances parameters` and `templates`, typed at a real server."""

import json
from collections.abc import Callable
from typing import Any

from commands import Run
from sdk_calls import created


def test_parameters_are_listed_and_changed(client: Any, run: Run, told: Callable[..., Any]) -> None:
    instance_id = created(client, 1, name="typed-parameters")
    listed = run("instances", "parameters", "typed-parameters")
    assert (listed.returncode, listed.stderr) == (0, "")
    rows = [line.split() for line in listed.stdout.splitlines()]
    assert ["maxclients", "10000", "10000", "1000-50000"] in rows
    assert len(told("instances", "parameters", instance_id)["redis_config"]) == len(rows) - 1

    words = ("instances", "parameters", "set", "typed-parameters", "timeout=300", "maxmemory-policy=allkeys-lru")
    changed = run(*words, "--wait")
    assert (changed.returncode, changed.stderr) == (0, "")
    assert changed.stdout.splitlines()[-1].endswith("SUCCESS")
    rows = [line.split()[:3] for line in run("instances", "parameters", instance_id).stdout.splitlines()]
    assert ["timeout", "300", "0"] in rows
    assert ["maxmemory-policy", "allkeys-lru", "noeviction"] in rows

    for wrong, code, said in (
        (("timeout=9999",), 3, "DCS.4066"),
        (("appendonly=no",), 3, "DCS.4066"),
        (("requirepass=x",), 2, "unknown parameter requirepass"),
        (("timeout",), 2, "is not NAME=VALUE"),
        (("timeout=1", "timeout=2"), 2, "twice"),
        ((), 2, "NAME=VALUE"),
    ):
        ran = run("instances", "parameters", "set", "typed-parameters", *wrong)
        assert ran.returncode == code, ran.stderr
        assert said in ran.stderr
    emptied = run("instances", "parameters", "set", instance_id, "notify-keyspace-events=", "--json")
    assert set(json.loads(emptied.stdout)) == {"job_id"}
    assert run("instances", "delete", instance_id, "--yes", "--wait").returncode == 0


def test_templates_are_made_changed_and_deleted(run: Run, told: Callable[..., Any]) -> None:
    made = run("templates", "create", "typed-one", "--from", "redis-7.0-single", "timeout=300")
    assert (made.returncode, made.stderr) == (0, "")
    template_id = made.stdout.split()[1]
    assert run("templates", "set", "typed-one", "maxmemory-policy=allkeys-lru").returncode == 0
    shown = run("templates", "show", "typed-one").stdout
    assert {"timeout", "300", "allkeys-lru"} <= set(shown.split())
    assert told("templates", "show", template_id)["cache_mode"] == "single"
    assert "typed-one" in run("templates", "list").stdout
    wrong = run("templates", "create", "typed-two", "timeout=x")
    assert (wrong.returncode, "DCS.4066" in wrong.stderr) == (3, True)
    assert run("templates", "delete", "typed-one").returncode == 0
    assert run("templates", "show", "typed-one").returncode == 2
