"""A plan that finds a background save on a source states it as work: its keys are counted, its seconds are foreseen."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from msgspec.structs import replace
from test_resize_plan import cluster, flavor, observation

from busy_nodes import control
from caches import cache, load, present
from cachewright.model.tasks import MigrationMode, Step, SubStep
from cachewright.operations.actions import child_processes
from cachewright.operations.actions.child_processes import wait_for_child
from cachewright.operations.resize.cost_model import MOVE, Host
from cachewright.operations.resize.plan import NONE_NAMED, decide
from cachewright.operations.resize.steps import steps
from cachewright.tasks.plan import effort
from cachewright.tasks.progress import END_SECONDS, estimate
from cachewright.valkey.migration.background_child import ChildStatus
from sdk_calls import created, ended, progress, resize
from serving import Server, until
from standalone_node import node_at

KEYS, SIZE = 20_000, 4_000
SAVE_SECONDS = 6.0
MEGABYTE = 2**20
NAME = "Child process."


def planned(
    child: ChildStatus | None, *, megabytes: int, mode: MigrationMode = "balanced", shards: int = 2
) -> list[tuple[str, str, float]]:
    """Action, lane and seconds of the sub-steps that move the data of a cluster to one shard."""
    nodes, view = cluster(flavor(shards, copies=1))
    seen = observation(nodes, view, keys_per_slot=1, clients=True)
    loads = {name: replace(load, child=child, used_memory=megabytes * MEGABYTE) for name, load in seen.loads.items()}
    seen = replace(seen, loads=loads, host=Host(turns=2, mode=mode))
    made = steps("run", decide(seen, flavor(1, copies=1), [], NONE_NAMED), seen)
    (migration,) = (step for step in made if step.name == "Data migration.")
    return [(sub.action, sub.work.lane, sub.work.seconds) for sub in migration.sub_steps]


def test_a_child_process_comes_before_the_moves_of_its_source() -> None:
    half = ChildStatus("a background save of node n", keys=1000, saved=500)
    (child, lane, seconds), *moves = planned(half, megabytes=1000)
    assert child == wait_for_child.name
    assert {action for action, *_ in moves} == {MOVE}
    assert lane == moves[0][1]
    assert 1 < seconds < 5
    (_, _, whole), *_ = planned(replace(half, saved=0), megabytes=1000)
    assert whole > 1.9 * seconds
    assert {action for action, *_ in planned(None, megabytes=1000)} == {MOVE}


def test_a_child_process_takes_longer_while_other_sources_work() -> None:
    child = ChildStatus("a background save of node n", keys=1000, saved=0)
    (_, _, alone), *_ = planned(child, megabytes=1000)
    (_, _, beside_another), *_ = planned(child, megabytes=1000, shards=3)
    assert beside_another > 1.3 * alone


def test_a_child_process_that_ends_before_the_moves_is_no_work() -> None:
    almost = ChildStatus("a background save of node n", keys=1000, saved=999)
    assert {action for action, *_ in planned(almost, megabytes=1000)} == {MOVE}
    assert {action for action, *_ in planned(replace(almost, saved=0), megabytes=1)} == {MOVE}


def test_keys_that_move_one_by_one_need_no_snapshot() -> None:
    begun = ChildStatus("a background save of node n", keys=1000, saved=0)
    assert {action for action, *_ in planned(begun, megabytes=1000, mode="gentle")} == {MOVE}


async def test_a_child_that_has_saved_all_keys_has_none_left_to_count(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = ChildStatus("a background save of node n", keys=1000, saved=1000)
    statuses = iter([whole, whole, None])

    async def child_status(*_: object) -> ChildStatus | None:
        return next(statuses)

    monkeypatch.setattr(child_processes, "child_status", child_status)
    measured: list[object] = []
    step: Any = SimpleNamespace(
        sub_step=SimpleNamespace(work=effort("n", unit="keys", total=1000, seconds=3)),
        measure=lambda **values: measured.append(values),
        end_wait=lambda: None,
        raise_if_cancelled=lambda: None,
    )
    await child_processes._follow(step, node_at(1, 2), cast(Any, None), 0.5)
    assert measured == []
    assert list(statuses) == [], "it waits until the child has ended"


async def test_keys_that_a_child_has_not_reported_yet_mean_no_slowness(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child with few large keys reports only a part of them, and after seconds."""
    reports = [ChildStatus("a background save of node n", keys=1500, saved=saved) for saved in (0, 0, 1024)]
    left = iter([*reports, None])

    async def child_status(*_: object) -> ChildStatus | None:
        return next(left)

    monkeypatch.setattr(child_processes, "child_status", child_status)
    monkeypatch.setattr("cachewright.tasks.progress.LATE_SHARE", 0.0)
    work = effort("n", unit="keys", total=1500, seconds=4)
    seen: list[dict[str, float]] = []
    step: Any = SimpleNamespace(
        sub_step=SimpleNamespace(work=work),
        measure=lambda *, detail, **values: seen.append(values),
        end_wait=lambda: None,
        raise_if_cancelled=lambda: None,
    )
    await child_processes._follow(step, node_at(1, 2), cast(Any, None), 1.0)
    assert [round(values["uncounted"]) for values in seen] == [1024, 1024, 1500 - 1024]
    assert seen[2]["done"] == pytest.approx(1024)
    child = SubStep(
        id="c", name=NAME, action=wait_for_child.name, arguments={}, work=work, status="EXECUTING", begin_time=0
    )
    silent = replace(child, uncounted=seen[0]["uncounted"], uncounted_at=0)
    shown = estimate([Step(id="s", name="Data migration.", status="EXECUTING", sub_steps=(silent,))], 2500)
    assert shown.remaining_seconds == pytest.approx(1.5 + END_SECONDS)
    assert shown.percent < 50, "no key is reported"


@pytest.fixture
def filled(server: Server, client: Any) -> str:
    instance_id = created(client, 2, name="saving")
    load(cache(client, instance_id), KEYS, SIZE)
    return instance_id


def test_a_scale_counts_the_keys_of_a_background_save(server: Server, client: Any, filled: str) -> None:
    for node_id in [node["node_id"] for node in server.call("GET", f"instances/{filled}/logical-nodes")[1]["nodes"]]:
        with control(server, node_id) as node:
            until(lambda node=node: not node.info("persistence")["aof_rewrite_in_progress"], "another child lives")
            node.config_set("rdb-key-save-delay", int(SAVE_SECONDS / node.dbsize() * 1e6))
            node.execute_command("BGSAVE")
            node.config_set("rdb-key-save-delay", 0)
    task_id = resize(client, filled, 1)

    def saved() -> set[int]:
        rows = [
            sub
            for step in progress(client, filled, task_id).step_details
            for sub in step.sub_step_details or []
            if sub.sub_step_name.startswith(NAME)
        ]
        return {int(row.detail.partition("keys:")[2].partition("/")[0]) for row in rows if "keys:" in row.detail}

    seen: set[int] = set()

    def counted() -> bool:
        seen.update(saved())
        return len(seen) > 2

    until(counted, "the counter does not increase")
    assert ended(client, filled, task_id).status == "SUCCESS"
    assert present(cache(client, filled), KEYS) == KEYS
