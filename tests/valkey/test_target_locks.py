"""Turns of sources that move slots to one target, atomically or key by key."""

import asyncio
from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from cachewright.valkey.migration.target_locks import TargetLocks, Way

ways: st.SearchStrategy[Way] = st.sampled_from(("batches", "keys"))


@given(st.lists(st.tuples(ways, st.integers(0, 3), st.booleans()), max_size=20))
def test_the_two_ways_exclude_each_other_and_every_source_gets_a_turn(sources: list[tuple[Way, int, bool]]) -> None:
    turns, running, served = TargetLocks(), [], []

    async def move(number: int, way: Way, steps: int) -> None:
        async with turns.turn("target", way):
            running.append(way)
            assert len(set(running)) == 1
            for _ in range(steps):
                await asyncio.sleep(0)
            running.remove(way)
            served.append(number)

    async def run() -> None:
        tasks = [asyncio.create_task(move(number, way, steps)) for number, (way, steps, _) in enumerate(sources)]
        await asyncio.sleep(0)
        for task, (_, _, cancelled) in zip(tasks, sources, strict=True):
            if cancelled and not running:
                task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await asyncio.wait_for(task, 5)
        async with asyncio.timeout(5), turns.turn("target", "keys"), turns.turn("target", "keys"):
            served.append(-1)

    asyncio.run(run())
    assert served[-1] == -1
    assert not turns._targets


async def test_sources_that_move_in_the_same_way_do_not_wait_for_each_other() -> None:
    turns = TargetLocks()
    async with asyncio.timeout(5):
        async with turns.turn("a", "batches"), turns.turn("a", "batches"), turns.turn("b", "keys"):
            pass


async def test_a_source_that_waits_is_not_overtaken() -> None:
    turns, order = TargetLocks(), []

    async def move(way: Way) -> None:
        async with turns.turn("a", way):
            order.append(way)

    async with turns.turn("a", "keys"):
        tasks = [asyncio.create_task(move("batches")), asyncio.create_task(move("keys"))]
        await asyncio.sleep(0.01)
        assert order == []
    await asyncio.gather(*tasks)
    assert order == ["batches", "keys"]


async def test_a_source_that_gives_up_does_not_keep_others_waiting() -> None:
    turns = TargetLocks()

    async def move() -> None:
        async with turns.turn("a", "batches"):
            raise AssertionError("it is not its turn")

    async with asyncio.timeout(5), turns.turn("a", "keys"):
        waiting = asyncio.create_task(move())
        await asyncio.sleep(0.01)
        waiting.cancel()
        with suppress(asyncio.CancelledError):
            await waiting
        async with turns.turn("a", "keys"):
            pass
