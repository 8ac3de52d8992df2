"""A migration that stands still while both its nodes answer: the snapshot's own process is frozen."""

import re
import time
from contextlib import suppress
from typing import Any

import psutil
from valkey import Valkey

from caches import cache, load, operator_of, present, states
from cachewright.valkey.migration.jobs import jobs_in
from sdk_calls import created, progress, resize_until, show
from serving import Server, freeze, thaw

KEYS = 150_000


def stall(server: Server) -> tuple[Any, str, str, psutil.Process]:
    """Start a scale and freeze the snapshot of its source. The client, the ids of instance and task, the process."""
    client = server.client()
    instance_id = created(client, 1)
    caches = cache(client, instance_id)
    load(caches, KEYS, 400)
    (source,) = server.nodes()
    (node,) = caches.get_primaries()
    with operator_of(server, node.host, node.port, decode_responses=True) as operator:
        task_id, snapshot = resize_until(
            client, instance_id, 2, lambda resize: frozen_snapshot(source, operator, client, instance_id, resize)
        )
    return client, instance_id, task_id, snapshot


def frozen_snapshot(
    source: psutil.Process, operator: Valkey, client: Any, instance_id: str, task_id: str
) -> psutil.Process | None:
    """The snapshot's process, frozen before its last byte. One that is frozen after it stalls nothing: it is ended."""
    child = frozen_child(source)
    if child is None:
        return None
    time.sleep(0.5)  # the source reads what is in the pipe
    rows = jobs_in(operator.execute_command("CLUSTER GETSLOTMIGRATIONS"))
    is_copying = any(job.state == "snapshotting" for job in rows)
    if is_copying and arrived_share(progress(client, instance_id, task_id)) < 0.8:
        return child
    with suppress(ProcessLookupError):
        thaw(child)
    return None


def arrived_share(seen: Any) -> float:
    """Share of the keys of the moving ranges that are on their target."""
    details = [sub.detail for step in seen.step_details for sub in step.sub_step_details or []]
    found = [(int(keys), int(planned)) for keys, planned in re.findall(r"keys:(\d+)/(\d+)", " ".join(details))]
    return sum(keys for keys, _ in found) / max(sum(planned for _, planned in found), 1)


def frozen_child(source: psutil.Process) -> psutil.Process | None:
    """One that is over, but not yet reaped, can be sent the signal as well; it does not stop."""
    for child in source.children():
        with suppress(ProcessLookupError, psutil.NoSuchProcess):
            freeze(child)
            if child.status() == psutil.STATUS_STOPPED:
                return child
    return None


def require_all_there(server: Server, client: Any, instance_id: str) -> None:
    assert show(client, instance_id).status == "RUNNING"
    caches = cache(client, instance_id)
    assert states(caches) == {"ok"}
    assert present(caches, KEYS) == KEYS
    assert len(server.nodes()) == 2
