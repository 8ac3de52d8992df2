"""Which keys an analysis shows, and when a schedule starts one."""

from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachewright.model.key_analyses import (
    MOST_HOT,
    MOST_OF_TYPE,
    NEW_KEY_FREQUENCY,
    TYPES,
    FoundKey,
    chosen,
    least_frequency,
    least_sizes,
    printable,
)
from cachewright.model.scan_schedules import DailySchedule, is_daily_due

KEYS = st.lists(
    st.builds(
        FoundKey,
        name=st.integers(0, 200).map(str),
        type=st.sampled_from(TYPES),
        database=st.just(0),
        size=st.integers(1, 1000),
        address=st.just("a"),
        frequency=st.integers(NEW_KEY_FREQUENCY + 1, 255),
    ),
    max_size=200,
    unique_by=lambda key: key.name,
)


@given(KEYS)
def test_an_analysis_that_sees_keys_one_by_one_shows_the_same_as_one_that_sees_all(keys: list[FoundKey]) -> None:
    big: tuple[FoundKey, ...] = ()
    hot: tuple[FoundKey, ...] = ()
    for key in keys:
        if key.size > least_sizes(big)[TYPES.index(key.type)]:
            big = chosen("big", [*big, key])
        if (key.frequency or 0) > least_frequency(hot):
            hot = chosen("hot", [*hot, key])
    for kind in TYPES:
        sizes = sorted((key.size for key in keys if key.type == kind), reverse=True)[:MOST_OF_TYPE]
        assert [key.size for key in big if key.type == kind] == sizes
    assert [key.frequency for key in hot] == sorted((key.frequency or 0 for key in keys), reverse=True)[:MOST_HOT]


def test_a_key_that_is_reported_twice_is_shown_once() -> None:
    key = FoundKey(name="k", type="list", database=0, size=3, address="a")
    assert chosen("big", [key, key]) == (key,)


@pytest.mark.parametrize(
    ("name", "shown"),
    [(b"plain", "plain"), ("größe".encode(), "größe"), (b"\xff\n", r"\xff\x0a"), (rb"a\b", r"a\x5cb")],
)
def test_names_of_keys_are_shown_as_text(name: bytes, shown: str) -> None:
    assert printable(name) == shown


def at(moment: str) -> int:
    return int(datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("now", "last", "due"),
    [
        ("2026-11-27T02:59:59", None, False),  # no time has passed since the schedule was set
        ("2026-11-27T03:00:00", None, True),
        ("2026-11-27T08:00:00", "2026-11-27T03:00:04", False),
        ("2026-11-27T22:30:05", "2026-11-27T03:00:04", True),
        ("2026-11-28T02:00:00", "2026-11-27T03:00:04", True),  # 22:30 passed while no server ran
        ("2026-11-28T02:00:00", "2026-11-28T01:00:00", False),
    ],
)
def test_an_analysis_is_due_at_its_times_of_day(now: str, last: str | None, due: bool) -> None:
    schedule = DailySchedule(
        enable_auto_scan=True, schedule_at=("22:30", "03:00"), updated_at=at("2026-11-27T01:00:00")
    )
    assert is_daily_due(schedule, at(last) if last else None, at(now)) is due
    begun = msgspec.structs.replace(schedule, started_at=at(last) if last else None)
    assert is_daily_due(begun, None, at(now)) is due, "the record of the last task was deleted"
    off = DailySchedule(enable_auto_scan=False, schedule_at=schedule.schedule_at, updated_at=0)
    assert not is_daily_due(off, None, at(now))
