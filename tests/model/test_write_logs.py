"""Which seconds the write logs of an instance can restore."""

from collections.abc import Collection
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachewright.model import write_logs
from cachewright.model.write_logs import Window, WriteLog, chosen, windows
from write_log_fixtures import a_log

SLOTS = 10


def log(shard: int = 0, ranges: tuple[tuple[int, int], ...] = ((0, 9),), **members: Any) -> WriteLog:
    plain: dict[str, Any] = {"id": f"{shard} {ranges} {members}", "first": 10, "last": 20}
    return a_log(shard=shard, ranges=ranges, **plain | members)


FIRST, SECOND = log(0, ((0, 4),)), log(1, ((5, 9),), first=12, last=25)


def test_all_shards_must_have_the_second() -> None:
    assert windows([FIRST, SECOND], SLOTS) == [Window(12, 20)]
    assert chosen([FIRST, SECOND], 20, SLOTS) == [FIRST, SECOND]
    assert chosen([FIRST, SECOND], 21, SLOTS) == []
    assert windows([FIRST], SLOTS) == []
    assert windows([FIRST, log(1, ((5, 9),), last=None)], SLOTS) == []


def test_slots_that_two_shards_have_had_are_no_whole() -> None:
    assert windows([log(0, ((0, 5),)), log(1, ((5, 8),))], SLOTS) == []


def test_logs_that_follow_each_other_are_one_window_unless_seconds_are_missing() -> None:
    later, after_a_gap = log(first=18, last=40), log(first=43, last=50)
    assert windows([log(), later, after_a_gap], SLOTS) == [Window(10, 40), Window(43, 50)]
    assert chosen([log(), later], 19, SLOTS) == [later], "the newer base is read faster"


def test_after_a_change_of_the_shards_each_layout_has_its_own_window() -> None:
    whole = log(first=30, last=40)
    assert windows([FIRST, SECOND, whole], SLOTS) == [Window(12, 20), Window(30, 40)]


def test_an_instance_without_slots_has_one_shard() -> None:
    assert windows([log(0, ())], SLOTS) == [Window(10, 20)]
    assert windows([log(0, ()), log(1, ())], SLOTS) == []


def test_many_logs_are_compared_only_with_those_of_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each rewrite of a file is a log, so that there may be thousands."""
    compared = []

    def counted(logs: Collection[WriteLog], second: int, slots: int) -> list[WriteLog]:
        compared.append(len(logs))
        return chosen(logs, second, slots)

    monkeypatch.setattr(write_logs, "chosen", counted)
    logs = [log(id=str(number), first=10 * number, last=10 * number + 12) for number in range(2000)]
    assert windows(logs, SLOTS) == [Window(0, 20_002)]
    assert max(compared) == 2


spans = st.tuples(st.integers(0, 40), st.integers(0, 20), st.integers(0, 1))


@given(st.lists(spans, max_size=8))
def test_a_second_is_offered_exactly_if_it_has_logs(given_spans: list[tuple[int, int, int]]) -> None:
    logs = [
        log(shard, ((0, 4),) if shard == 0 else ((5, 9),), first=first, last=first + length)
        for first, length, shard in given_spans
    ]
    offered = {second for one in windows(logs, SLOTS) for second in range(one.first, one.last + 1)}
    assert offered == {second for second in range(70) if chosen(logs, second, SLOTS)}
