"""Jobs of migrations in an agent: what the server says to them, and the removal of unused gateways."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from cachewright.config import Settings
from cachewright.jobs.migrations import ordered_caller
from cachewright.jobs.migrations.machine import GatewayMachine
from cachewright.jobs.migrations.ordered_caller import OrderedCaller
from cachewright.jobs.migrations.orders import Event, Orders, Progress
from cachewright.jobs.migrations.unused import UNUSED_SECONDS, UsedGateways
from cachewright.jobs.work import OrderedWork
from cachewright.valkey.sources.copier import TargetNotReady
from cachewright.valkey.sources.target import TargetMap


def said(work: OrderedWork) -> Progress:
    return msgspec.convert(work.state.told, Progress, str_keys=True)


async def test_the_server_answers_requests_of_a_job(tmp_path: Path) -> None:
    work = OrderedWork(Settings(data_dir=tmp_path), "n")
    caller = OrderedCaller(work)
    asking = asyncio.create_task(caller.find_target())
    state = await work.until("", 5)
    assert (state.stage, said(work).request, said(work).libraries) == ("1", 1, None)
    work.take(Orders())  # without an answer
    await asyncio.sleep(0)
    assert not asking.done()
    work.take(Orders(answered=1, refusal="a slot has no owner"))
    with pytest.raises(TargetNotReady, match="a slot has no owner"):
        await asking
    asking = asyncio.create_task(caller.find_target())
    await work.until("1", 5)
    work.take(Orders(answered=2, target=TargetMap((), ())))
    assert await asking == TargetMap((), ())
    keeping = asyncio.create_task(caller.keep_libraries({"b", "a"}))
    await work.until(Orders(answered=2).known_stage, 5)
    assert said(work).libraries == ("a", "b")
    work.take(Orders(answered=3))
    await keeping


async def test_events_are_told_until_they_are_in_the_log(tmp_path: Path) -> None:
    work = OrderedWork(Settings(data_dir=tmp_path), "n")
    caller = OrderedCaller(work)
    await caller.note("info", "first")
    await caller.note("warning", "second")
    work.take(Orders(noted=1))
    assert said(work).events == (Event(2, "warning", "second"),)
    await caller.note("info", "third")
    assert [event.number for event in said(work).events] == [2, 3]


async def test_a_job_is_held_while_its_task_is_paused(tmp_path: Path) -> None:
    work = OrderedWork(Settings(data_dir=tmp_path), "n")
    caller = OrderedCaller(work)
    caller.measure(done=3)
    waiting = asyncio.create_task(caller.wait_until_allowed())
    await asyncio.sleep(0)
    assert said(work).is_held, "it copies keys before the server has said anything"
    work.take(Orders())
    await waiting
    work.take(Orders(is_paused=True))
    waiting = asyncio.create_task(caller.wait_until_allowed())
    await asyncio.sleep(0)
    assert (said(work).is_held, said(work).done, waiting.done()) == (True, 3, False)
    work.take(Orders())
    await waiting
    assert not said(work).is_held


async def test_a_job_copies_nothing_when_its_orders_are_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = OrderedWork(Settings(data_dir=tmp_path), "n")
    caller = OrderedCaller(work)
    work.take(Orders())
    await caller.wait_until_allowed()
    monkeypatch.setattr(ordered_caller, "VALID_SECONDS", 0.0)
    waiting = asyncio.create_task(caller.wait_until_allowed())
    await asyncio.sleep(0)
    assert (said(work).is_held, waiting.done()) == (True, False)
    monkeypatch.setattr(ordered_caller, "VALID_SECONDS", 5.0)
    work.take(Orders())
    await waiting


async def test_gateways_are_unused_without_calls_or_without_their_node(tmp_path: Path) -> None:
    now = 0.0
    present = {"found", "deleted"}

    async def with_file(_: str) -> frozenset[str]:
        return frozenset(f"{name}.0" for name in present)

    machine = GatewayMachine(cast("Any", SimpleNamespace(with_file=with_file)), tmp_path, cast("Any", None))
    used = UsedGateways(machine, lambda: now)
    for name in ("called", "deleted"):
        (tmp_path / name).mkdir()
        used.use(name, tmp_path / name)
    assert await used.unused() == []
    (tmp_path / "deleted").rmdir()
    assert await used.unused() == ["deleted"]
    used.forget("deleted")
    present.remove("deleted")
    now = UNUSED_SECONDS - 1
    used.use("called", tmp_path / "called")
    assert await used.unused() == []
    now = UNUSED_SECONDS
    assert await used.unused() == ["found"]
