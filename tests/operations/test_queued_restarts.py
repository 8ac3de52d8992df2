"""Tasks of one instance that wait for each other, on a real cluster."""

import json
import threading
from typing import Any

import httpx
from huaweicloudsdkdcs.v2 import ChangeInstanceStatusBody, RestartOrFlushInstancesRequest

from sdk_calls import created, ended, newest_task, progress, spec
from serving import Server, until

CHECKS = 8
FACTOR = 3


def restart(client: Any, instance_id: str) -> str:
    body = ChangeInstanceStatusBody(instances=[instance_id], action="restart")
    client.restart_or_flush_instances(RestartOrFlushInstancesRequest(body=body))
    return str(newest_task(client, instance_id).id)


def two_restarts(server: Server, client: Any, instance_id: str) -> tuple[str, str]:
    """Restarts are accepted while only checks run, so both wait behind some checks."""
    for _ in range(CHECKS):
        status, _ = server.call("POST", f"instances/{instance_id}/resize/check-job", {"spec_code": spec(4)})
        assert status == 200
    return restart(client, instance_id), restart(client, instance_id)


class Stream(threading.Thread):
    """The remaining seconds that the event stream of a task tells before its first step begins."""

    def __init__(self, server: Server, instance_id: str, task_id: str) -> None:
        super().__init__(daemon=True)
        self.told: list[int] = []
        path = f"instances/{instance_id}/tasks/{task_id}/progress"
        self._request = server.signed("GET", path, Accept="text/event-stream")

    def run(self) -> None:
        with httpx.Client(timeout=60) as http:
            answer = http.send(self._request, stream=True)
            for line in answer.iter_lines():
                if line.startswith("data: "):
                    shown = json.loads(line.removeprefix("data: "))
                    if any(step["begin_time"] for step in shown["step_details"]):
                        break
                    self.told.append(shown["remain_time"])
            answer.close()


def test_the_second_of_two_restarts_counts_the_first_one(own_server: Server) -> None:
    client = own_server.client()
    instance_id = created(client, 3)
    first, second = two_restarts(own_server, client, instance_id)
    stream = Stream(own_server, instance_id, second)
    stream.start()
    seen: list[tuple[int, int, int]] = []

    def first_is_over() -> bool:
        behind, ahead = progress(client, instance_id, second), progress(client, instance_id, first)
        if begun(behind):
            return True
        assert behind.progress == 0
        if begun(ahead) and ahead.progress < 100:
            seen.append((ahead.progress, ahead.remain_time, behind.remain_time))
        return False

    until(first_is_over, "the second restart does not begin")
    for task_id in (first, second):
        assert ended(client, instance_id, task_id).status == "SUCCESS"
    early = [(ahead, behind) for percent, ahead, behind in seen if percent < 50]
    assert early, seen
    (ahead, behind), last = early[0], seen[-1][2]
    assert ahead * 2 / FACTOR < behind < ahead * 2 * FACTOR, "two restarts of the same instance"
    assert ahead / FACTOR < last < ahead * FACTOR, "one of them is left"
    assert last < behind
    assert all(behind >= ahead for _, ahead, behind in seen)
    stream.join(60)
    assert len(set(stream.told)) > 1, "the stream tells when the task before it makes progress"


def begun(shown: Any) -> bool:
    return any(step.begin_time for step in shown.step_details)
