"""Client libraries of several vendors see no error while a cluster scales and restarts, and lose no write.

`CLIENT_LIBRARY_KEYS` sets the number of other keys in the cluster.
"""

import os
from contextlib import ExitStack
from typing import Any

import msgspec
import pytest
from bench.client_libraries.messages import ClientError, ClientReport, ClientSpec
from bench.client_libraries.moments import Change, described
from bench.client_libraries.process import NODE_LIBRARIES, PYTHON_LIBRARIES, LibraryClient, unavailable
from huaweicloudsdkdcs.v2 import ChangeInstanceStatusBody, RestartOrFlushInstancesRequest

from caches import cache, load, present
from cachewright.cli.demo.cloud import progress_of
from sdk_calls import PASSWORD, created, ended, newest_task, progress, resize, show
from serving import Server

KEYS = int(os.environ.get("CLIENT_LIBRARY_KEYS", "100000"))
FEW, MANY = 3, 5
OWN_ERRORS = {("node-redis", "DisconnectsClientError")}
"""node-redis rejects its requests to a node as soon as it reads that the node owns no slots, although the node would
answer them."""

IN_FLIGHT_SECONDS = 1.0
"""Such requests have just been sent. Those that wait for a connection to a node that has gone take longer."""

QUIET_RATE, QUIET_WORKERS = 20, 4
"""Traffic of a client whose connections to a leaving node are silent for a second at a time."""

UNREPEATED = ("valkey-glide", "Failed to receive command response")
"""valkey-glide does not repeat a write whose connection ends before the answer. It reports a command that reaches a
node in the same turn of its event loop as the request that closes the silent connection. One in a run is no fault."""


@pytest.mark.parametrize("library", NODE_LIBRARIES)
def test_libraries_of_nodejs_take_part(library: str) -> None:
    if reason := unavailable(library):
        pytest.skip(f"{library} takes no part in the traffic: {reason}")


@pytest.mark.timeout(600)
def test_no_library_sees_an_error(own_server: Server) -> None:
    """Six scales, and two restarts, each directly after a scale."""
    client = own_server.client()
    instance_id = created(client, FEW, copies=2)
    load(cache(client, instance_id), KEYS)
    shown = show(client, instance_id)
    with ExitStack() as stack:
        clients = [stack.enter_context(LibraryClient(spec)) for spec in specs(shown.ip, shown.port)]
        changes = [scaled(client, instance_id, shards) for shards in (MANY, FEW, MANY, FEW)]
        for shards in (MANY, FEW):
            changes.append(scaled(client, instance_id, shards))
            changes.append(restarted(client, instance_id))
        reports = [process.stop() for process in clients]
    assert all(report.acknowledged and report.read_back for report in reports)
    failures = [line for report in reports for line in described(without_own_errors(report), changes)]
    unrepeated = [line for line in failures if all(part in line for part in UNREPEATED)]
    assert len(unrepeated) <= 1, "\n".join(unrepeated)
    assert failures == unrepeated, "\n".join(failures)
    assert present(cache(client, instance_id), KEYS) == KEYS


def specs(host: str, port: int) -> list[ClientSpec]:
    """A busy client of each library, and a quiet one of those whose requests wait for a node that has gone."""
    busy = [
        ClientSpec(library=library, host=host, port=port, password=PASSWORD)
        for library in (*PYTHON_LIBRARIES, *NODE_LIBRARIES)
        if not unavailable(library)
    ]
    quiet = [
        msgspec.structs.replace(spec, name=f"quiet-{spec.library}", rate=QUIET_RATE, workers=QUIET_WORKERS)
        for spec in busy
        if spec.library in NODE_LIBRARIES
    ]
    return [*busy, *quiet]


def without_own_errors(report: ClientReport) -> ClientReport:
    errors = [error for error in report.errors if not is_own(report.library, error)]
    return msgspec.structs.replace(report, errors=errors)


def is_own(library: str, error: ClientError) -> bool:
    return (library, error.kind) in OWN_ERRORS and error.at - error.begun < IN_FLIGHT_SECONDS


def scaled(client: Any, instance_id: str, shards: int) -> Change:
    return finished(client, instance_id, resize(client, instance_id, shards, copies=2), f"scale to {shards} shards")


def restarted(client: Any, instance_id: str) -> Change:
    body = ChangeInstanceStatusBody(instances=[instance_id], action="restart")
    client.restart_or_flush_instances(RestartOrFlushInstancesRequest(body=body))
    return finished(client, instance_id, str(newest_task(client, instance_id).id), "restart")


def finished(client: Any, instance_id: str, task_id: str, name: str) -> Change:
    assert ended(client, instance_id, task_id, 300).status == "SUCCESS"
    return Change(name=name, progress=progress_of(progress(client, instance_id, task_id)))
