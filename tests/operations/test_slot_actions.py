"""Ranges of one source that follow each other: the source knows the next one before it has finished the first."""

from collections.abc import Iterator
from typing import Any

import pytest
from huaweicloudsdkdcs.v2 import DeleteSingleInstanceRequest

from caches import cache, load, operator_of, present
from cachewright.model.tasks import ENDED
from cachewright.valkey.client import CONTROL_PLANE
from cachewright.valkey.migration.jobs import Job, jobs_in
from sdk_calls import created, ended, moves_of_ranges, newest_task, progress, resize, resize_until, show, spec
from serving import Server, until
from traffic import Traffic

KEYS = 250_000


@pytest.fixture
def source(server: Server, client: Any) -> Iterator[tuple[str, Any]]:
    """An instance of one full shard, and a connection to its node that counts as none of a client's."""
    instance_id = created(client, 1)
    caches = cache(client, instance_id)
    load(caches, KEYS, 800)
    caches.close()
    shown = show(client, instance_id)
    with operator_of(server, shown.ip, shown.port, client_name=CONTROL_PLANE, decode_responses=True) as asked:
        yield instance_id, asked
    client.delete_single_instance(DeleteSingleInstanceRequest(instance_id=instance_id))


def jobs(asked: Any) -> list[Job]:
    return jobs_in(asked.execute_command("CLUSTER GETSLOTMIGRATIONS"))


def exports(asked: Any) -> set[str]:
    """Targets that the node is moving slots to, or is about to."""
    return {job.target_node for job in jobs(asked) if not job.ended}


def moves(client: Any, instance_id: str, task_id: str) -> list[Any]:
    return moves_of_ranges(progress(client, instance_id, task_id))


def told(move: Any, what: str) -> int:
    return int(move.detail.split(f"{what}:")[1].split("}")[0].split("/")[0].split(",")[0])


def test_a_source_need_not_wait_for_its_next_range_and_each_byte_counts_once(
    client: Any, source: tuple[str, Any]
) -> None:
    instance_id, asked = source
    before = asked.info("stats")["total_net_cluster_slot_export_bytes"]
    task_ids = set()

    def next_is_queued(task_id: str) -> bool:
        task_ids.add(task_id)
        return len(exports(asked)) == 2

    task_id, _ = resize_until(client, instance_id, 3, next_is_queued)
    assert ended(client, instance_id, task_id).status == "SUCCESS"
    moved = [move for task_id in task_ids for move in moves(client, instance_id, task_id)]
    assert len(moved) == 2 * len(task_ids)
    sent = asked.info("stats")["total_net_cluster_slot_export_bytes"] - before
    assert sum(told(move, "bytes") for move in moved) == pytest.approx(sent, rel=0.001)
    assert present(cache(client, instance_id), KEYS) == KEYS


def test_a_pause_holds_back_what_was_queued(server: Server, client: Any, source: tuple[str, Any]) -> None:
    instance_id, asked = source

    def paused(task_id: str) -> bool:
        """Whether the pause came before the second range had begun."""
        if len(exports(asked)) != 2:
            return False
        path = f"instances/{instance_id}/tasks/{task_id}/control"
        if server.call("PUT", path, {"state": "paused"})[0] != 200:
            return False
        if moves(client, instance_id, task_id)[1].sub_step_status == "WAITING":
            return True
        server.call("PUT", path, {"state": "running"})
        return False

    task_id, _ = resize_until(client, instance_id, 3, paused)
    path = f"instances/{instance_id}/tasks/{task_id}/control"

    def over() -> bool:
        return bool(moves(client, instance_id, task_id)[0].sub_step_status == "FINISH")

    until(over, "the range that moved when the pause came has not ended")
    assert exports(asked) == set(), "what was to come goes on while the task is paused"
    assert moves(client, instance_id, task_id)[1].sub_step_status == "WAITING"
    assert server.call("PUT", path, {"state": "running"})[0] == 200
    assert ended(client, instance_id, task_id).status == "SUCCESS"
    assert present(cache(client, instance_id), KEYS) == KEYS


@pytest.mark.parametrize("mode", ["balanced", "fastest"])
def test_clients_are_spared_by_small_pieces_unless_it_is_to_be_over_soon(
    server: Server, client: Any, source: tuple[str, Any], mode: str
) -> None:
    instance_id, asked = source
    caller = Traffic(1, show(client, instance_id).port)
    caller.start()
    until(lambda: caller.writes > 50, "nobody asks anything")
    body = {"spec_code": spec(3), "new_capacity": 3, "migration_mode": mode}
    assert server.call("POST", f"instances/{instance_id}/resize", body)[0] == 204
    task_id = newest_task(client, instance_id).id
    assert ended(client, instance_id, task_id).status == "SUCCESS"
    caches = cache(client, instance_id)
    caller.finish(caches)
    assert not caller.losses
    pieces = len(jobs(asked))
    assert pieces == 2 if mode == "fastest" else pieces > 4
    assert present(caches, KEYS) == KEYS


def test_the_plan_completes_slots_that_were_left_open(server: Server, client: Any) -> None:
    """A client's key of an open slot is on the shard that the resize removes, and no slot leaves the other shard."""
    instance_id = created(client, 2)
    caches = cache(client, instance_id)
    staying, leaving = (caches.get_node_from_key(name) for name in ("{3}", "{4}"))
    slot = caches.keyslot("{3}")
    with (
        operator_of(server, staying.host, staying.port, decode_responses=True) as source,
        operator_of(server, leaving.host, leaving.port, decode_responses=True) as target,
    ):
        target.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", source.execute_command("CLUSTER MYID"))
        source.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", target.execute_command("CLUSTER MYID"))
        caches.set("{3}", "value")
        assert target.execute_command("CLUSTER COUNTKEYSINSLOT", slot) == 1
    task_id = resize(client, instance_id, 1)
    assert ended(client, instance_id, task_id).status == "SUCCESS"
    assert cache(client, instance_id).get("{3}") == b"value"
    client.delete_single_instance(DeleteSingleInstanceRequest(instance_id=instance_id))


def test_a_change_of_the_mode_applies_to_a_range_that_was_queued(
    server: Server, client: Any, source: tuple[str, Any]
) -> None:
    instance_id, asked = source
    caller = Traffic(1, show(client, instance_id).port)
    caller.start()
    until(lambda: caller.writes > 50, "no client writes")
    body = {"spec_code": spec(3), "new_capacity": 3, "migration_mode": "fastest"}

    def changed(task_id: str) -> bool:
        """Whether the mode was changed while both ranges moved, the second one ahead of its turn."""
        if len(exports(asked)) != 2:
            return False
        path = f"instances/{instance_id}/tasks/{task_id}/control"
        is_accepted = server.call("PUT", path, {"mode": "balanced"})[0] == 200
        second = moves(client, instance_id, task_id)[1]
        return is_accepted and second.sub_step_status == "WAITING" and len(exports(asked)) == 2

    for _ in range(10):
        before = successes(asked)
        assert server.call("POST", f"instances/{instance_id}/resize", body)[0] == 204
        task_id = newest_task(client, instance_id).id
        until(
            lambda task_id=task_id: changed(task_id) or newest_task(client, instance_id).status in ENDED,
            "the second range is not queued",
        )
        in_time = newest_task(client, instance_id).status not in ENDED
        assert ended(client, instance_id, task_id).status == "SUCCESS"
        if in_time:
            break
        assert ended(client, instance_id, resize(client, instance_id, 1)).status == "SUCCESS"
    else:
        pytest.fail("each resize was over before the mode was changed")
    caller.finish(cache(client, instance_id))
    assert not caller.losses
    assert successes(asked) - before > 3, "one batch for the first range, and at least three small ones for the second"


def successes(asked: Any) -> int:
    return sum(job.state == "success" for job in jobs(asked))
