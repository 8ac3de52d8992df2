"""The server dies in the middle; caches go on, and the next server finishes what it was doing."""

import threading
from typing import Any

import pytest
from valkey.cluster import ValkeyCluster
from valkey.exceptions import ValkeyError

from caches import cache, load, present, serves
from sdk_calls import PASSWORD, created, ended, progress, resize, show
from serving import Server, until


class Writer(threading.Thread):
    """Counts up on a few keys and remembers what was acknowledged."""

    def __init__(self, caches: ValkeyCluster) -> None:
        super().__init__(daemon=True)
        self._caches = caches
        self._over = threading.Event()
        self.acknowledged: dict[str, int] = {}
        self.errors: list[str] = []

    def run(self) -> None:
        number = 0
        while not self._over.is_set():
            number += 1
            key = f"counter:{number % 200}"
            try:
                self._caches.set(key, number)
                self.acknowledged[key] = number
            except ValkeyError as error:
                self.errors.append(repr(error))

    def finish(self) -> None:
        self._over.set()
        self.join()


@pytest.mark.parametrize("step", ["Resource request.", "Cluster join.", "Data migration.", "Resource release."])
def test_a_scale_goes_on_after_the_server_was_killed_in(own_server: Server, step: str) -> None:
    client = own_server.client()
    inward = step == "Resource release."
    instance_id = created(client, 4 if inward else 2)
    caches = cache(client, instance_id)
    load(caches, 60_000, 100)
    writer = Writer(cache(client, instance_id))
    writer.start()
    until(lambda: writer.acknowledged, "nothing is written")
    nodes_before = {process.pid for process in own_server.nodes()}

    task_id = resize(client, instance_id, 2 if inward else 4)
    before = until(lambda: in_step(client, instance_id, task_id, step), f"{step} has not begun")
    own_server.kill()
    assert {process.pid for process in own_server.nodes()} >= nodes_before - (nodes_before if inward else set())
    acknowledged = len(writer.acknowledged), max(writer.acknowledged.values())
    until(lambda: max(writer.acknowledged.values()) > acknowledged[1] + 50, "the caches stopped with the server")
    own_server.start()

    client = own_server.client()
    after = progress(client, instance_id, task_id)
    assert after.progress >= before.progress, "the percent went down"
    assert begun(after)[step] == begun(before)[step], "the step began a second time"
    assert ended(client, instance_id, task_id).status == "SUCCESS"
    final = progress(client, instance_id, task_id)
    assert begun(final)[step] == begun(before)[step]
    assert show(client, instance_id).status == "RUNNING"
    assert len(own_server.nodes()) == (2 if inward else 4)
    writer.finish()
    assert not writer.errors
    fresh = ValkeyCluster(host="127.0.0.1", port=show(client, instance_id).port, password=PASSWORD)
    lost = {key: number for key, number in writer.acknowledged.items() if int(fresh.get(key)) < number}
    assert not lost
    assert present(fresh, 60_000) == 60_000


def in_step(client: Any, instance_id: str, task_id: str, name: str) -> Any:
    """A step may be over in less than a look; then the kill falls into what follows it."""
    seen = progress(client, instance_id, task_id)
    status = {step.step_name: step.step_status for step in seen.step_details}
    return seen if status.get(name) in {"EXECUTING", "FINISH"} else None


def begun(seen: Any) -> dict[str, str]:
    return {step.step_name: step.begin_time for step in seen.step_details}


def test_a_server_that_is_asked_to_stop_leaves_caches_and_comes_back(own_server: Server) -> None:
    instance_id = created(own_server.client())
    cache(own_server.client(), instance_id).set("a", "1")
    assert own_server.stop() == 0
    assert len(own_server.nodes()) == 3
    own_server.start()
    assert show(own_server.client(), instance_id).status == "RUNNING"
    assert cache(own_server.client(), instance_id).get("a") == b"1"


def test_a_node_that_is_killed_comes_back_with_its_keys(own_server: Server) -> None:
    client = own_server.client()
    instance_id = created(client)
    caches = cache(client, instance_id)
    for number in range(500):
        caches.set(f"key:{number}", number)
    victim = own_server.nodes()[0]
    victim.kill()
    until(
        lambda: len(own_server.nodes()) == 3 and victim.pid not in {process.pid for process in own_server.nodes()},
        "the node was not started again",
    )
    until(lambda: serves(client, instance_id), "the cluster does not serve again")
    caches = cache(client, instance_id)
    assert [int(caches.get(f"key:{number}")) for number in range(500)] == list(range(500))
