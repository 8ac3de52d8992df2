"""Limits that are fair between keys, and calls that several callers share."""

import asyncio
from contextlib import suppress

import pytest

from cachewright.concurrency import FairLimit, SharedCalls, repeated
from cachewright.errors import ApiError


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


async def test_what_is_repeated_ends_with_its_block() -> None:
    calls: list[int] = []

    async def act() -> float:
        calls.append(1)
        return 0.001

    async with repeated(act):
        while len(calls) < 3:
            await asyncio.sleep(0.001)
    seen = len(calls)
    await asyncio.sleep(0.02)
    assert len(calls) == seen


async def test_what_replaces_its_cancellation_by_an_error_of_its_own_ends_too() -> None:
    """As a connection that is lost at the same moment may do."""
    swallowed: list[int] = []
    began = asyncio.Event()

    async def act() -> float:
        began.set()
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            swallowed.append(1)
        return 0.0

    async with asyncio.timeout(20):
        async with repeated(act):
            await began.wait()
    assert swallowed == [1]


async def test_errors_of_the_block_and_of_what_is_repeated_are_raised() -> None:
    async def act() -> float:
        raise LookupError("act")

    async def fail(error: Exception | None) -> None:
        async with repeated(act):
            await asyncio.sleep(0.01)
            if error:
                raise error

    with pytest.raises(ZeroDivisionError):
        await fail(ZeroDivisionError())
    with pytest.raises(LookupError, match="act"):
        await fail(None)
