"""Nodes die, freeze, run out of memory or cannot start in the middle of a scale. Nothing is lost, and the task ends."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from huaweicloudsdkcore.exceptions.exceptions import ClientRequestException

from caches import FAULTS, cache, load, operator_of, present, serves, states
from cachewright.valkey.slots import SLOTS
from sdk_calls import ENDED, created, ended, held_in_migration, newest_task, progress, resize, resize_until, show
from serving import Server, freeze, thaw, until

KEYS = 80_000


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Any, str]]:
    server = Server(tmp_path_factory.mktemp("failures") / "data")
    try:
        server.start()
        yield server, *filled(server)
    finally:
        server.clean_up()


@pytest.fixture
def two_shards(shared: tuple[Server, Any, str]) -> tuple[Server, Any, str]:
    """The shared instance, whole and of two shards, as each of these tests leaves it whole."""
    server, client, instance_id = shared
    if show(client, instance_id).sharding_count != 2:
        assert ended(client, instance_id, resize(client, instance_id, 2)).status == "SUCCESS"
    require_whole(server, client, instance_id, 2)
    return shared


def filled(server: Server) -> tuple[Any, str]:
    client = server.client()
    instance_id = created(client, 2)
    load(cache(client, instance_id), KEYS, 800)
    return client, instance_id


def moving(client: Any, instance_id: str, task_id: str, phase: str = "full_migration:") -> Any:
    """A sub-step whose data is on its way, in that phase."""
    for step in progress(client, instance_id, task_id).step_details:
        for sub_step in step.sub_step_details or []:
            if sub_step.sub_step_status == "EXECUTING" and phase in sub_step.detail:
                return sub_step
    return None


def require_whole(server: Server, client: Any, instance_id: str, shards: int) -> None:
    """Every key is there, every slot owned once, every node agrees, and each shard has one process."""
    # Who was struck as the task was about to end may still be on its way back.
    until(lambda: len(server.nodes()) == shards and serves(client, instance_id), "the cluster is not whole")
    until(lambda: show(client, instance_id).status == "RUNNING", "the instance is not RUNNING")
    caches = cache(client, instance_id)
    assert present(caches, KEYS) == KEYS
    nodes = [node for node in caches.cluster_nodes().values() if node["slots"]]
    assert sum(int(part[-1]) - int(part[0]) + 1 for node in nodes for part in node["slots"]) == SLOTS
    assert not any(node["migrations"] for node in nodes)
    assert len(nodes) == shards
    assert states(caches) == {"ok"}
    assert len(server.nodes()) == shards


def victim(server: Server, before: set[int], source_id: str, who: str) -> psutil.Process:
    nodes = server.nodes()
    if who == "target":
        return next(node for node in nodes if node.pid not in before)
    is_source = [any(source_id in word for word in node.cmdline()) for node in nodes]
    wanted = who == "source"
    return next(node for node, source in zip(nodes, is_source, strict=True) if source is wanted and node.pid in before)


PHASES = {"snapshot": "full_migration:", "streaming": "inc_migration:in progress"}


@pytest.mark.parametrize("who", ["source", "target", "other"])
@pytest.mark.parametrize(("how", "phase"), [("killed", "snapshot"), ("killed", "streaming"), ("frozen", "snapshot")])
def test_a_scale_gets_over_a_node_that_is(two_shards: tuple[Server, Any, str], how: str, phase: str, who: str) -> None:
    server, client, instance_id = two_shards

    def struck_in_phase(task_id: str) -> psutil.Process | None:
        """The process that was struck in the phase. One that was frozen when the task was over goes on."""
        sub_step = moving(client, instance_id, task_id, PHASES[phase])
        if sub_step is None:
            return None
        struck = victim(server, before, sub_step.detail.partition("node_id:")[2].partition(",")[0], who)
        if how == "killed":
            struck.kill()
            return struck
        freeze(struck)
        if newest_task(client, instance_id).status not in ENDED:
            return struck
        thaw(struck)
        return None

    before = {node.pid for node in server.nodes()}
    task_id, struck = resize_until(client, instance_id, 3, struck_in_phase)
    if how == "frozen":
        try:
            frozen_for_seven_seconds(client, instance_id, task_id)
        finally:
            thaw(struck)
    assert ended(client, instance_id, task_id, seconds=120).status == "SUCCESS"
    require_whole(server, client, instance_id, 3)


def frozen_for_seven_seconds(client: Any, instance_id: str, task_id: str) -> None:
    """Longer than a node's answer is waited for. The percent stands still, and never falls."""
    deadline = time.monotonic() + 7
    percents = []
    while time.monotonic() < deadline:
        percents.append(progress(client, instance_id, task_id).progress)
        time.sleep(0.2)
    assert percents == sorted(percents)
    assert percents[-1] < 100


def test_a_target_without_memory_fails_the_task_and_loses_nothing(two_shards: tuple[Server, Any, str]) -> None:
    server, client, instance_id = two_shards
    task_id = held_in_migration(server, client, instance_id, 3)
    address = target_address(client, instance_id, task_id)
    with operator_of(server, address[0], address[1]) as target:
        target.config_set("maxmemory", 4 * 1024 * 1024)
    assert server.call("PUT", f"instances/{instance_id}/tasks/{task_id}/control", {"state": "running"})[0] == 200
    row = ended(client, instance_id, task_id, seconds=120)
    assert row.status == "FAILED"
    failed = [
        sub_step
        for step in progress(client, instance_id, task_id).step_details
        for sub_step in step.sub_step_details or []
        if sub_step.sub_step_status == "FAILED"
    ]
    assert {sub_step.error_code for sub_step in failed} == {"DCS.9002"}
    assert "full_migration:failed" in failed[0].detail
    assert show(client, instance_id).status == "RUNNING"
    try:
        with operator_of(server, address[0], address[1]) as target:
            target.config_set("maxmemory", 1024**3)
    except (LookupError, *FAULTS):
        until(lambda: len(server.nodes()) == 2, "a target that got nothing is taken away, any other stays")
    again = resize(client, instance_id, 3)
    assert ended(client, instance_id, again).status == "SUCCESS"
    require_whole(server, client, instance_id, 3)


def target_address(client: Any, instance_id: str, task_id: str) -> tuple[str, int]:
    steps = {step.step_name: step for step in progress(client, instance_id, task_id).step_details}
    detail = steps["Resource request."].sub_step_details[0].detail
    host, _, port = detail.partition("address:")[2].rstrip("}").rpartition(":")
    return host, int(port)


def test_a_shard_that_would_be_too_full_is_refused_before_anything_moves(own_server: Server) -> None:
    """The request is refused. While a node does not answer, it is accepted, and the task fails in its first check."""
    client = own_server.client()
    instance_id = created(client, 2)
    caches = cache(client, instance_id)
    value = "x" * (8 * 1024 * 1024)
    for number in range(100):
        caches.set(f"big:{number}", value)
    newest = newest_task(client, instance_id).id
    with pytest.raises(ClientRequestException) as refused:
        resize(client, instance_id, 1)
    assert (refused.value.status_code, refused.value.error_code) == (400, "DCS.9008")
    assert (newest_task(client, instance_id).id, show(client, instance_id).status) == (newest, "RUNNING")

    freeze(silent := own_server.nodes()[0])
    try:
        task_id = resize(client, instance_id, 1)
    finally:
        thaw(silent)
    assert ended(client, instance_id, task_id, seconds=120).status == "FAILED"
    checks = progress(client, instance_id, task_id).step_details[0].sub_step_details
    assert checks[0].error_code == "DCS.9008"
    assert show(client, instance_id).status == "RUNNING"
    assert len(own_server.nodes()) == 2


def test_a_damaged_nodes_conf_is_repaired_and_harms_no_other_node(own_server: Server) -> None:
    client = own_server.client()
    instance_id = created(client)
    cache(client, instance_id).set("a", "1")
    struck = own_server.nodes()[-1]
    folder = Path(next(word for word in struck.cmdline() if word.endswith("valkey.conf"))).parent
    (folder / "nodes.conf").write_text("this is no nodes.conf\n")
    struck.kill()
    until(lambda: "its nodes.conf is damaged" in own_server.log(), "the node's failure is not in the log")
    until(lambda: newest_task(client, instance_id).name == "RebuildNode", "no repair is started")
    assert ended(client, instance_id, newest_task(client, instance_id).id).status == "SUCCESS"
    until(lambda: show(client, instance_id).status == "RUNNING", "the instance does not come back")
    until(lambda: serves(client, instance_id), "the cluster does not serve again")
    assert cache(client, instance_id).get("a") == b"1"
