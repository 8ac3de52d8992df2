"""Plan first, pause, throttle, cancel and try again: the extensions, over signed HTTP."""

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from itertools import pairwise
from typing import Any

import pytest
from huaweicloudsdkdcs.v2 import (
    ShowJobInfoRequest,
    StartInstanceResizeCheckJobRequest,
    StartInstanceResizeCheckJobRequestBody,
)

from caches import cache, load, present
from sdk_calls import created, ended, held_in_migration, moves_of_ranges, newest_task, progress, resize, show, spec
from serving import Server, until

KEYS = 120_000
Call = Callable[..., tuple[int, Any]]


@pytest.fixture(scope="module")
def busy(server: Server, client: Any) -> tuple[Server, Any, str]:
    instance_id = created(client, 2)
    caches = cache(client, instance_id)
    load(caches, KEYS, 300)
    return server, client, instance_id


@pytest.fixture
def call(server: Server) -> Call:
    return server.call


def back_to(client: Any, instance_id: str, shards: int) -> None:
    if show(client, instance_id).sharding_count != shards or len(masters(client, instance_id)) != shards:
        ended(client, instance_id, resize(client, instance_id, shards))


def masters(client: Any, instance_id: str) -> list[Any]:
    return [node for node in cache(client, instance_id).cluster_nodes().values() if node["slots"]]


def keys(client: Any, instance_id: str) -> int:
    return present(cache(client, instance_id), KEYS)


def record(call: Call, instance_id: str, task_id: str) -> Any:
    status, body = call("GET", f"instances/{instance_id}/tasks/{task_id}")
    assert status == 200
    return body


def test_a_plan_says_what_a_resize_would_do_and_touches_nothing(call: Call, busy: tuple[Server, Any, str]) -> None:
    server, client, instance_id = busy
    before = state(server, client, instance_id)
    status, plan = call("POST", f"instances/{instance_id}/resize/plan", {"spec_code": spec(4), "new_capacity": 4})
    assert status == 200
    assert (plan["shards_before"], plan["shards_after"], plan["slots"]) == (2, 4, 8192)
    assert plan["keys"] == pytest.approx(KEYS / 2, rel=0.1)
    assert plan["bytes"] == pytest.approx(KEYS / 2 * 400, rel=0.5)
    assert 0.5 < plan["seconds"] < 600
    assert plan["blockers"] == []
    names = [step["step_name"] for step in plan["steps"]]
    assert names == ["Pre-check.", "Resource request.", "Cluster join.", "Data migration.", "Post-check."]
    assert state(server, client, instance_id) == before


def state(server: Server, client: Any, instance_id: str) -> list[str]:
    """All that is known of the instance, save what its nodes use of their memory, which is measured now and then."""
    shown = show(client, instance_id)
    shown.used_memory = None
    return [str(shown), str(newest_task(client, instance_id)), str(len(server.nodes()))]


def test_a_plan_forecasts_all_modes(call: Call, busy: tuple[Server, Any, str]) -> None:
    _, client, instance_id = busy
    user = cache(client, instance_id)
    user.get("k")
    _, plan = call("POST", f"instances/{instance_id}/resize/plan", {"spec_code": spec(4), "migration_mode": "gentle"})
    user.close()
    assert (plan["migration_mode"], plan["clients"]) == ("gentle", True)
    forecasts = {forecast["mode"]: forecast for forecast in plan["modes"]}
    waits = [forecasts[mode]["longest_wait_ms"] for mode in ("gentle", "balanced", "fastest")]
    assert waits == sorted(waits)
    assert waits[0] > 0
    assert forecasts["gentle"]["seconds"] == plan["seconds"]


@pytest.mark.parametrize("path", ["resize", "resize/plan", "resize/check-job"])
def test_an_unknown_mode_is_refused(call: Call, busy: tuple[Server, Any, str], path: str) -> None:
    body = {"spec_code": spec(4), "new_capacity": 4, "migration_mode": "quickest"}
    status, answer = call("POST", f"instances/{busy[2]}/{path}", body)
    assert status == 400
    assert answer["error_code"].startswith("DCS.")
    assert "migration_mode" in answer["error_msg"]


def test_a_plan_does_not_wait_for_a_writer(call: Call, busy: tuple[Server, Any, str]) -> None:
    server, _, instance_id = busy
    with closing(sqlite3.connect(server.data_dir / "cachewright.db", isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        try:
            status, plan = call("POST", f"instances/{instance_id}/resize/plan", {"spec_code": spec(4)})
        finally:
            writer.execute("ROLLBACK")
    assert (status, plan["shards_after"]) == (200, 4)


@pytest.mark.parametrize(
    ("body", "code"),
    [({"spec_code": "nonsense"}, "DCS.4927"), ({"spec_code": spec(2)}, "DCS.4103"), ({}, "DCS.4927")],
)
def test_a_plan_for_what_cannot_be_is_refused(call: Call, busy: tuple[Server, Any, str], body: Any, code: str) -> None:
    status, answer = call("POST", f"instances/{busy[2]}/resize/plan", body)
    assert (status, answer["error_code"]) == (400, code)


def test_a_check_is_a_job_that_the_clouds_client_can_follow(busy: tuple[Server, Any, str]) -> None:
    _, client, instance_id = busy
    request = StartInstanceResizeCheckJobRequest(
        instance_id=instance_id, body=StartInstanceResizeCheckJobRequestBody(spec_code=spec(3))
    )
    job_id = client.start_instance_resize_check_job(request).job_id

    def job() -> Any:
        seen = client.show_job_info(ShowJobInfoRequest(job_id=job_id))
        return seen if seen.status in {"SUCCESS", "FAIL"} else None

    seen = until(job, "the job has not ended")
    assert (seen.status, seen.job_type) == ("SUCCESS", "ResizeCheck")
    assert int(seen.begin_time) <= int(seen.end_time)
    assert show(client, instance_id).status == "RUNNING"


def test_a_paused_scale_stands_still_and_goes_on(call: Call, busy: tuple[Server, Any, str]) -> None:
    server, client, instance_id = busy
    back_to(client, instance_id, 2)
    task_id = held_in_migration(server, client, instance_id, 4, parallel=1)
    path = f"instances/{instance_id}/tasks/{task_id}/control"
    assert call("PUT", path, {"state": "paused", "parallel": 1})[0] == 200
    until(lambda: all_paused(call, instance_id, task_id), "the task is not paused")
    stands = progress(client, instance_id, task_id).progress
    time.sleep(1.5)
    assert progress(client, instance_id, task_id).progress == stands
    assert keys(client, instance_id) == KEYS
    status, body = call("PUT", path, {"wish": "pause", "parallel": 1})
    assert (status, body["control"]["state"]) == (200, "paused"), "the name of version 0.1.0 is accepted"
    status, body = call("PUT", path, {"state": "running", "parallel": 1})
    assert (status, body["control"]["parallel"]) == (200, 1)
    assert ended(client, instance_id, task_id).status == "SUCCESS"
    moves = moves_of_ranges(progress(client, instance_id, task_id))
    spans = sorted((move.begin_time, move.end_time) for move in moves)
    assert len(spans) > 1
    assert all(end <= begin for (_, end), (begin, _) in pairwise(spans)), "ranges moved side by side"
    judged = record(call, instance_id, task_id)["forecasts"]
    assert judged
    assert all(forecast["error"] is not None for forecast in judged)


def all_paused(call: Call, instance_id: str, task_id: str) -> bool:
    """Whether each sub-step that has begun waits because of a pause."""
    steps = record(call, instance_id, task_id)["progress"]["step_details"]
    running = [sub for step in steps for sub in step["sub_step_details"] if sub["sub_step_status"] == "EXECUTING"]
    return bool(running) and all("status:paused" in sub["detail"] for sub in running)


def standing(client: Any, instance_id: str, task_id: str) -> int | None:
    """The percent, where it is the same a second later."""
    seen = progress(client, instance_id, task_id).progress
    time.sleep(1)
    return seen if seen and progress(client, instance_id, task_id).progress == seen else None


def test_a_latency_ceiling_holds_a_scale_back(call: Call, busy: tuple[Server, Any, str]) -> None:
    server, client, instance_id = busy
    back_to(client, instance_id, 2)
    task_id = held_in_migration(server, client, instance_id, 3)
    path = f"instances/{instance_id}/tasks/{task_id}/control"
    until(lambda: standing(client, instance_id, task_id), "no ceiling holds it back")
    assert call("PUT", path, {"latency_ceiling_ms": 1000})[0] == 200
    assert ended(client, instance_id, task_id).status == "SUCCESS"


def test_a_cancelled_scale_leaves_the_cluster_whole_and_can_be_tried_again(
    call: Call, busy: tuple[Server, Any, str]
) -> None:
    server, client, instance_id = busy
    back_to(client, instance_id, 2)
    task_id = held_in_migration(server, client, instance_id, 4)
    path = f"instances/{instance_id}/tasks/{task_id}"
    refused = call("POST", f"{path}/retry")[1]
    assert refused["error_code"] == "DCS.4957"
    assert refused["error_msg"].endswith("state: it has not failed")
    assert call("POST", f"instances/{instance_id}/resize/cancel/{task_id}") == (200, {"result": "success"})
    assert ended(client, instance_id, task_id).status == "FAILED"
    cancelled = record(call, instance_id, task_id)
    assert cancelled["task"]["error_code"] == "DCS.9005"
    shown = show(client, instance_id)
    assert (shown.status, shown.sharding_count) == ("RUNNING", 2)
    assert keys(client, instance_id) == KEYS
    assert not any(node["migrations"] for node in masters(client, instance_id))
    assert call("POST", f"{path}/cancel")[1]["error_code"] == "DCS.4957"

    status, body = call("POST", f"{path}/retry")
    assert (status, body["attempt"]) == (200, 1)
    assert show(client, instance_id).status == "EXTENDING"
    assert call("PUT", f"{path}/control", {"state": "running"})[0] == 200
    assert ended(client, instance_id, task_id).status == "SUCCESS"
    assert record(call, instance_id, task_id)["progress"]["progress"] == 100
    assert show(client, instance_id).sharding_count == 4
    assert len(masters(client, instance_id)) == 4
    assert keys(client, instance_id) == KEYS


def test_control_of_what_is_not_there_is_refused(call: Call, busy: tuple[Server, Any, str]) -> None:
    instance_id = busy[2]
    unknown = f"instances/{instance_id}/tasks/{'0' * 32}"
    for method, path, body in (
        ("GET", unknown, None),
        ("PUT", f"{unknown}/control", {"state": "paused"}),
        ("POST", f"{unknown}/cancel", None),
        ("POST", f"{unknown}/retry", None),
    ):
        status, answer = call(method, path, body)
        assert (status, answer["error_code"]) == (404, "DCS.4958")
    status, answer = call("PUT", f"{unknown}/control", {"state": "sleeping"})
    assert (status, answer["error_code"]) == (400, "DCS.4062")
    assert "state" in answer["error_msg"]


def test_a_resize_keeps_its_mode_and_its_limits_when_it_is_cancelled_and_retried(
    call: Call, busy: tuple[Server, Any, str]
) -> None:
    _, client, instance_id = busy
    back_to(client, instance_id, 2)
    body = {"spec_code": spec(4), "new_capacity": 4, "migration_mode": "gentle"}
    assert call("POST", f"instances/{instance_id}/resize", body)[0] == 204
    task_id = newest_task(client, instance_id).id
    limits = {"mode": "gentle", "parallel": 1, "latency_ceiling_ms": 900.0}
    path = f"instances/{instance_id}/tasks/{task_id}"
    assert record(call, instance_id, task_id)["control"]["mode"] == "gentle"
    assert call("PUT", f"{path}/control", limits)[0] == 200
    status, cancelled = call("POST", f"{path}/cancel")
    assert (status, cancelled["control"]) == (200, limits | {"state": "cancelled"})
    assert ended(client, instance_id, task_id).status == "FAILED"
    status, retried = call("POST", f"{path}/retry")
    assert (status, retried["control"]) == (200, limits | {"state": "running"})
    assert record(call, instance_id, task_id)["control"] == retried["control"]
    assert ended(client, instance_id, task_id).status == "SUCCESS"
    assert keys(client, instance_id) == KEYS


def test_the_former_names_of_modes_are_accepted(call: Call, busy: tuple[Server, Any, str]) -> None:
    server, client, instance_id = busy
    back_to(client, instance_id, 2)
    task_id = held_in_migration(server, client, instance_id, 4, parallel=1)
    path = f"instances/{instance_id}/tasks/{task_id}/control"
    for priority, mode in (("speed", "fastest"), ("latency", "balanced")):
        _, body = call("PUT", path, {"priority": priority, "latency_ceiling_ms": 0.000001})
        assert body["control"]["mode"] == mode
        assert "priority" not in body["control"]
    assert call("PUT", path, {"state": "running"})[0] == 200
    assert ended(client, instance_id, task_id).status == "SUCCESS"
