"""Limits that are fair between keys, and calls that several callers share."""

import asyncio
import threading
from contextlib import suppress
from types import SimpleNamespace

import pytest

from cachewright.concurrency import FairLimit, GrowingPauses, SharedCalls, end_tasks, gather_limited, until_ended
from cachewright.errors import ApiError


async def test_pauses_grow_with_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    now, taken = 0.0, list[float]()

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds
        taken.append(seconds)

    monkeypatch.setattr("cachewright.concurrency.time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr("cachewright.concurrency.asyncio", SimpleNamespace(sleep=sleep))
    pauses = GrowingPauses(0.02, 1.0)
    while now < 60:
        await pauses.next()
    assert taken == sorted(taken)
    assert (taken[0], taken[-1]) == (0.02, 1.0)
    assert len(taken) < 200


async def held(limit: FairLimit, key: str, entered: list[str], release: asyncio.Event) -> None:
    async with limit.turn(key):
        entered.append(key)
        await release.wait()


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_one_key_delays_no_other() -> None:
    limit, entered, release = FairLimit(2), list[str](), asyncio.Event()
    tasks = [asyncio.create_task(held(limit, "a", entered, release)) for _ in range(5)]
    await settle()
    assert entered == ["a", "a"]
    tasks.append(asyncio.create_task(held(limit, "b", entered, release)))
    await settle()
    assert entered == ["a", "a", "b"]
    release.set()
    await asyncio.gather(*tasks)
    assert entered.count("a") == 5


async def test_more_than_may_wait_is_refused() -> None:
    limit, entered, release = FairLimit(1, waiting=2), list[str](), asyncio.Event()
    tasks = [asyncio.create_task(held(limit, "a", entered, release)) for _ in range(3)]
    await settle()
    with pytest.raises(ApiError) as refused:
        await held(limit, "a", entered, release)
    assert refused.value.code == "DCS.4974"
    assert refused.value.fields["retry_after"] > 0
    tasks.append(asyncio.create_task(held(limit, "b", entered, release)))
    await settle()
    assert entered == ["a", "b"]
    release.set()
    await asyncio.gather(*tasks)


async def test_more_than_may_wait_of_all_keys_is_refused() -> None:
    limit, entered, release = FairLimit(1, waiting=5, waiting_in_all=2), list[str](), asyncio.Event()
    tasks = [asyncio.create_task(held(limit, key, entered, release)) for key in "aabb"]
    await settle()
    for key in "ab":
        with pytest.raises(ApiError):
            await held(limit, key, entered, release)
    tasks.append(asyncio.create_task(held(limit, "c", entered, release)))
    await settle()
    assert entered == ["a", "b", "c"]
    release.set()
    await asyncio.gather(*tasks)


async def test_one_that_gives_up_waiting_makes_room() -> None:
    limit, entered, release = FairLimit(1, waiting=1, waiting_in_all=1), list[str](), asyncio.Event()
    first = asyncio.create_task(held(limit, "a", entered, release))
    waiting = asyncio.create_task(held(limit, "a", entered, release))
    await settle()
    waiting.cancel()
    with suppress(asyncio.CancelledError):
        await waiting
    again = asyncio.create_task(held(limit, "a", entered, release))
    await settle()
    release.set()
    await asyncio.gather(first, again)
    assert entered == ["a", "a"]


async def test_a_call_is_shared_and_made_anew_when_it_has_ended() -> None:
    calls, release, made = SharedCalls[str, int](), asyncio.Event(), list[int]()

    async def call() -> int:
        made.append(1)
        await release.wait()
        return len(made)

    waiting = [asyncio.create_task(calls.get("a", call)) for _ in range(3)]
    await settle()
    release.set()
    assert await asyncio.gather(*waiting) == [1, 1, 1]
    assert await calls.get("a", call) == 2


async def test_a_call_ends_when_all_its_callers_have_gone() -> None:
    calls, ended, started = SharedCalls[str, None](), asyncio.Event(), asyncio.Event()

    async def call() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    one, other = (asyncio.create_task(calls.get("a", call)) for _ in range(2))
    await started.wait()
    one.cancel()
    await settle()
    assert not ended.is_set()
    other.cancel()
    await asyncio.wait_for(ended.wait(), 10)
    await asyncio.gather(one, other, return_exceptions=True)


async def test_the_failure_of_a_call_is_every_callers() -> None:
    calls = SharedCalls[str, None]()

    async def call() -> None:
        await asyncio.sleep(0)
        raise ValueError("no")

    outcomes = await asyncio.gather(*(calls.get("a", call) for _ in range(2)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ValueError, ValueError]


async def test_a_task_that_loses_its_first_cancellation_ends_nevertheless() -> None:
    lost = 0

    async def loop() -> None:
        nonlocal lost
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                lost += 1
                if lost > 1:
                    raise

    async def failing() -> None:
        raise ValueError

    looping, failed, ended = (asyncio.create_task(act()) for act in (loop, failing, asyncio.Event().wait))
    await asyncio.sleep(0)
    await asyncio.wait_for(end_tasks(looping, failed, ended), 30)
    assert lost == 2
    assert all(task.done() for task in (looping, failed, ended))


async def test_after_an_error_no_other_call_runs_on() -> None:
    ended: list[str] = []

    async def act(name: str) -> None:
        if name == "fails":
            await asyncio.sleep(0)
            raise ValueError(name)
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append(name)

    with pytest.raises(ValueError, match="fails"):
        await gather_limited(act, ["a", "fails", "b"], 3)
    assert sorted(ended) == ["a", "b"]


async def test_a_thread_ends_before_its_caller_however_often_that_is_cancelled() -> None:
    release = threading.Event()

    async def work() -> None:
        writing = asyncio.create_task(asyncio.to_thread(release.wait))
        try:
            await asyncio.wait([writing])
        finally:
            await until_ended(writing)

    caller = asyncio.create_task(work())
    await settle()
    ending = asyncio.create_task(end_tasks(caller, cancel_again_seconds=0.01))
    await asyncio.sleep(0.2)  # cancelled several times
    had_ended = caller.done()
    release.set()
    async with asyncio.timeout(30):
        await ending
    assert not had_ended
    assert caller.cancelled()


async def test_the_error_of_a_task_that_is_waited_for_stays_its_own() -> None:
    failing = asyncio.get_running_loop().create_future()
    failing.set_exception(ValueError("its own"))
    await until_ended(failing)
    with pytest.raises(ValueError, match="its own"):
        await failing
