"""`cachewright tasks`, typed at a real server."""

import json
from collections.abc import Callable
from typing import Any

from commands import Run
from sdk_calls import created, ended, resize, show
from serving import Server


def held_resize(server: Server, client: Any, instance_id: str, shards: int) -> str:
    """A task that is paused before it can have moved anything."""
    task_id = resize(client, instance_id, shards)
    assert server.call("PUT", f"instances/{instance_id}/tasks/{task_id}/control", {"state": "paused"})[0] == 200
    return task_id


def test_a_task_is_paused_cancelled_tried_again_and_resumed(server: Server, client: Any, run: Run) -> None:
    instance_id = created(client, 1)
    task_id = held_resize(server, client, instance_id, 2)
    assert run("tasks", "pause", task_id).returncode == 0
    assert '"state": "paused"' in run("tasks", "show", task_id, "--json").stdout
    assert run("tasks", "cancel", task_id).returncode == 0
    watched = run("tasks", "watch", task_id)
    assert watched.returncode == 1
    assert f"{task_id} was cancelled" in watched.stdout
    assert watched.stderr == "cachewright: not all tasks have succeeded\n"
    assert task_id in run("tasks", "retry", task_id[-8:]).stdout
    assert run("tasks", "watch", task_id).returncode == 0

    held = held_resize(server, client, instance_id, 3)
    assert run("tasks", "resume", held, "--parallel", "1", "--priority", "speed").returncode == 0
    asked = json.loads(run("tasks", "show", held, "--json").stdout)["control"]
    assert asked == {"state": "running", "parallel": 1, "latency_ceiling_ms": None, "mode": "fastest"}
    assert run("tasks", "watch").returncode == 0
    assert show(client, instance_id).sharding_count == 3


def test_limits_of_a_task_survive_pause_and_resume(
    server: Server, client: Any, run: Run, told: Callable[..., Any]
) -> None:
    instance_id = created(client, 1)
    task_id = resize(client, instance_id, 2)
    path = f"instances/{instance_id}/tasks/{task_id}"
    limits = {"parallel": 1, "latency_ceiling_ms": 0.000001, "mode": "balanced"}
    assert server.call("PUT", f"{path}/control", limits)[0] == 200
    assert told("tasks", "pause", task_id)["control"] == limits | {"state": "paused"}
    assert told("tasks", "resume", task_id)["control"] == limits | {"state": "running"}
    changed = limits | {"parallel": 2, "mode": "gentle"}
    assert told("tasks", "resume", task_id, "--parallel", "2", "--mode", "gentle")["control"] == changed | {
        "state": "running"
    }
    assert told("tasks", "resume", task_id, "--mode", "balanced")["control"]["mode"] == "balanced"
    free = {"state": "running", "parallel": 3, "latency_ceiling_ms": None, "mode": "balanced"}
    assert told("tasks", "pause", task_id)["control"]["latency_ceiling_ms"] == 0.000001
    assert told("tasks", "resume", task_id, "--reset", "--parallel", "3")["control"] == free
    assert ended(client, instance_id, task_id).status == "SUCCESS"
