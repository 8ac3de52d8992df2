"""A cluster is created, scaled out and in and deleted, through the cloud's own client."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from huaweicloudsdkcore.exceptions.exceptions import ClientRequestException
from huaweicloudsdkdcs.v2 import DeleteSingleInstanceRequest
from valkey.cluster import ValkeyCluster

from caches import cache, operator_of
from cachewright.valkey.slots import SLOTS
from sdk_calls import created, ended, moves_of_ranges, newest_task, progress, resize, show
from serving import Server, freeze, thaw, until

KEYS = 20_000


@pytest.fixture
def instance(client: Any) -> Iterator[str]:
    instance_id = created(client)
    yield instance_id
    delete(client, instance_id)


def delete(client: Any, instance_id: str) -> None:
    client.delete_single_instance(DeleteSingleInstanceRequest(instance_id=instance_id))
    with pytest.raises(ClientRequestException, match=r"DCS\.3022"):
        until(lambda: not show(client, instance_id), "the instance is not gone")


def load(caches: ValkeyCluster) -> None:
    for start in range(0, KEYS, 1000):
        pipeline = caches.pipeline()
        for number in range(start, start + 1000):
            pipeline.set(f"key:{number}", f"value:{number}")
        pipeline.execute()


def require_all_there(caches: ValkeyCluster) -> None:
    for start in range(0, KEYS, 1000):
        pipeline = caches.pipeline()
        for number in range(start, start + 1000):
            pipeline.get(f"key:{number}")
        expected = [f"value:{number}".encode() for number in range(start, start + 1000)]
        assert pipeline.execute() == expected


def owners(caches: ValkeyCluster) -> dict[str, int]:
    """Slots by node id, as the first node sees it."""
    nodes = caches.cluster_nodes()
    counts = {}
    for node in nodes.values():
        slots = sum(int(part[-1]) - int(part[0]) + 1 for part in node["slots"])
        if slots:
            counts[node["node_id"]] = slots
    return counts


def running(server: Server, node_ids: Iterable[str]) -> set[str]:
    """Which of these nodes run."""
    words = [word for process in server.nodes() for word in process.info["cmdline"]]
    return {node_id for node_id in node_ids if any(node_id in word for word in words)}


def follow(client: Any, instance_id: str, task_id: str) -> list[Any]:
    """Every progress seen until the task ends."""
    seen = []

    def at_end() -> bool:
        seen.append(progress(client, instance_id, task_id))
        return bool(seen[-1].progress == 100)

    until(at_end, "the task has not ended")
    return seen


def test_a_created_instance_runs_and_its_creation_is_on_record(client: Any, instance: str) -> None:
    task = newest_task(client, instance)
    assert (task.name, task.status) == ("CreateInstance", "SUCCESS")
    seen = progress(client, instance, task.id)
    assert (seen.progress, seen.remain_time) == (100, 0)
    assert [step.step_name for step in seen.step_details] == ["Pre-check.", "Resource request.", "Cluster formation."]
    assert {step.step_status for step in seen.step_details} == {"FINISH"}
    assert len(owners(cache(client, instance))) == 3


def test_scaling_out_and_in_keeps_every_key_and_tells_the_truth(server: Server, client: Any, instance: str) -> None:
    caches = cache(client, instance)
    load(caches)

    task_id = resize(client, instance, 5)
    assert show(client, instance).status == "EXTENDING"
    seen = follow(client, instance, task_id)
    percents = [each.progress for each in seen]
    assert percents == sorted(percents), "a percent went down"
    assert all(each.remain_time >= 1 for each in seen[:-1])
    steps = {step.step_name: step for step in seen[-1].step_details}
    assert [sub.sub_step_name for sub in steps["Pre-check."].sub_step_details] == [
        "Resource check.",
        "Instance status check.",
    ]
    moves = moves_of_ranges(seen[-1])
    assert all("full_migration:finished,inc_migration:finished" in move.detail for move in moves)
    moved = sum(int(move.detail.split("keys:")[1].split("/")[0]) for move in moves)
    assert moved == pytest.approx(KEYS * 2 / 5, rel=0.1)

    shown = show(client, instance)
    assert (shown.status, shown.sharding_count, shown.capacity) == ("RUNNING", 5, 5)
    require_all_there(caches)
    counts = owners(cache(client, instance))
    assert len(counts) == len(running(server, counts)) == 5
    assert sum(counts.values()) == SLOTS
    assert max(counts.values()) - min(counts.values()) <= 1

    task_id = resize(client, instance, 3)
    assert ended(client, instance, task_id).status == "SUCCESS"
    require_all_there(cache(client, instance))
    assert owners(cache(client, instance)).keys() == running(server, counts)
    assert len(running(server, counts)) == 3


def test_shards_grow_and_shrink_where_they_are(server: Server, client: Any, instance: str) -> None:
    caches = cache(client, instance)

    def limits() -> set[int]:
        limits = set()
        for node in caches.get_nodes():
            with operator_of(server, node.host, node.port) as operator:
                limits.add(int(operator.config_get("maxmemory")["maxmemory"]))
        return limits

    assert ended(client, instance, resize(client, instance, 3, shard_gb=2)).status == "SUCCESS"
    assert limits() == {2 * 1024**3}
    assert ended(client, instance, resize(client, instance, 3, shard_gb=1)).status == "SUCCESS"
    assert limits() == {1024**3}


def test_a_cluster_with_replicas_scales_too(client: Any) -> None:
    instance_id = created(client, copies=2)
    try:
        load(cache(client, instance_id))
        for shards in (4, 3):
            assert ended(client, instance_id, resize(client, instance_id, shards, copies=2)).status == "SUCCESS"
            caches = cache(client, instance_id)
            require_all_there(caches)
            roles = [node["flags"] for node in caches.cluster_nodes().values()]
            assert sum("master" in flags for flags in roles) == sum("slave" in flags for flags in roles) == shards
    finally:
        delete(client, instance_id)


def test_a_deletion_waits_for_the_resize_that_runs(server: Server, client: Any) -> None:
    folders = set((server.data_dir / "nodes").glob("*"))
    others = {process.pid for process in server.nodes()}
    instance_id = created(client)
    silent = next(process for process in server.nodes() if process.pid not in others)
    freeze(silent)  # so that the resize is not over at once when it is cancelled
    try:
        resize(client, instance_id, 4)
        client.delete_single_instance(DeleteSingleInstanceRequest(instance_id=instance_id))
        deletion = newest_task(client, instance_id)
        assert (deletion.name, deletion.status) == ("DeleteInstance", "WAITING")
        waiting = progress(client, instance_id, deletion.id)
        assert (waiting.progress, {step.step_status for step in waiting.step_details}) == (0, {"WAITING"})
    finally:
        with suppress(ProcessLookupError):
            thaw(silent)
    with pytest.raises(ClientRequestException) as gone:
        until(lambda: not show(client, instance_id), "the instance is not gone")
    assert (gone.value.status_code, gone.value.error_code) == (404, "DCS.3022")
    assert set((server.data_dir / "nodes").glob("*")) <= folders
