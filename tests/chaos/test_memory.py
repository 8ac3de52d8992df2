"""The server keeps nothing of a task that is over."""

from typing import Any

import psutil
import pytest
from huaweicloudsdkdcs.v2 import StartInstanceResizeCheckJobRequest, StartInstanceResizeCheckJobRequestBody

from sdk_calls import created, ended, progress, spec
from serving import Server

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(0)]

WARM, MEASURED = 400, 200
"""SQLite's page caches, which are limited, grow by some 12 MB in the first 400 tasks."""

SMALL_BYTES = 4_000_000


def test_the_servers_memory_is_flat(own_server: Server) -> None:
    client = own_server.client()
    instance_id = created(client, 1)
    assert own_server.process is not None
    server = psutil.Process(own_server.process.pid)
    run_tasks(client, instance_id, WARM)
    before = server.memory_info().rss
    run_tasks(client, instance_id, MEASURED)
    grown = server.memory_info().rss - before
    print(f"{MEASURED} tasks: {before / 1e6:.1f} MB and {grown / 1e6:+.1f} MB")
    assert grown < SMALL_BYTES


def run_tasks(client: Any, instance_id: str, count: int) -> None:
    body = StartInstanceResizeCheckJobRequestBody(spec_code=spec(2))
    for _ in range(count):
        request = StartInstanceResizeCheckJobRequest(instance_id=instance_id, body=body)
        task_id = client.start_instance_resize_check_job(request).job_id
        progress(client, instance_id, task_id)
        ended(client, instance_id, task_id)
