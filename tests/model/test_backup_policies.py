"""When backups by a policy are due, and which backups expire."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachewright.model.backup_policies import (
    DAY_MS,
    MOST_ATTEMPTS,
    RETRY_MS,
    Attempt,
    BackupPlan,
    BackupPolicy,
    begin_of,
    is_due,
    latest_begin,
    longest_pause,
    zone_of,
)
from cachewright.model.backups import Backup, expired, last_good
from database_fixtures import a_backup

MONDAY = int(datetime(2026, 11, 23, tzinfo=UTC).timestamp() * 1000)
HOUR = 3600 * 1000


def policy(*days: int, begin_at: str = "02:00-03:00", offset: str = "", since: int = 0) -> BackupPolicy:
    plan = BackupPlan(backup_at=days, begin_at=begin_at, timezone_offset=offset)
    return BackupPolicy(id="p", backup_type="auto", save_days=3, plan=plan, created_at=since, updated_at=since)


def backup(created_at: int, **members: Any) -> Backup:
    plain = {"id": f"b{created_at}", "created_at": created_at, "taken_at": created_at}
    return a_backup(**plain | members)


@pytest.mark.parametrize(
    ("offset", "begin"),
    [("", 2 * HOUR), ("+0000", 2 * HOUR), ("+0800", -6 * HOUR), ("-0330", 5.5 * HOUR), ("+1200", -10 * HOUR)],
)
def test_a_plan_begins_at_its_time_in_its_zone(offset: str, begin: float) -> None:
    plan = policy(1, offset=offset).plan
    assert plan
    moment = MONDAY + int(begin)
    assert latest_begin(plan, moment) == moment
    assert latest_begin(plan, moment - 1) == moment - 7 * DAY_MS
    assert latest_begin(plan, moment + 7 * DAY_MS - 1) == moment


@given(
    st.sets(st.integers(1, 7), min_size=1),
    st.integers(0, 23),
    st.integers(0, 59),
    st.sampled_from(["", "+1200", "-1200", "+0530"]),
    st.integers(0, 10**13),
)
def test_the_latest_begin_is_on_a_day_of_the_plan_and_at_most_a_week_ago(
    days: set[int], hour: int, minute: int, offset: str, now: int
) -> None:
    plan = BackupPlan(backup_at=tuple(days), begin_at=f"{hour:02}:{minute:02}-{hour:02}:59", timezone_offset=offset)
    begin = latest_begin(plan, now)
    assert begin is not None
    assert now - 7 * DAY_MS < begin <= now
    local = datetime.fromtimestamp(begin / 1000, zone_of(offset))
    assert (local.isoweekday() in days, local.hour, local.minute) == (True, hour, minute)


def test_a_backup_is_due_once_for_each_time_also_if_no_server_ran_then() -> None:
    own = policy(1, 4)
    at = MONDAY + 2 * HOUR
    assert not is_due(own, [Attempt(at - 1)], at - 1)
    assert is_due(own, [Attempt(at - 1)], at)
    assert is_due(own, [], at + 2 * DAY_MS)
    assert not is_due(own, [Attempt(at)], at + 2 * DAY_MS)
    assert is_due(own, [Attempt(at)], at + 3 * DAY_MS)
    assert not is_due(policy(1, since=at + 1), [], at + HOUR)
    assert not is_due(None, [], at)
    manual = BackupPolicy(id="p", backup_type="manual", created_at=0, updated_at=0)
    assert not is_due(manual, [], at)


def test_a_clock_that_was_ahead_stops_no_schedule() -> None:
    at = MONDAY + 2 * HOUR
    assert is_due(policy(1), [Attempt(at + 30 * DAY_MS)], at)
    assert is_due(policy(1, since=at + 30 * DAY_MS), [], at)


def test_a_failed_backup_is_tried_a_few_more_times() -> None:
    own, at = policy(1), MONDAY + 2 * HOUR
    for number in range(1, MOST_ATTEMPTS + 1):
        failed = [Attempt(at + one, at + HOUR) for one in range(number)]
        assert not is_due(own, failed, at + HOUR + RETRY_MS - 1)
        assert is_due(own, failed, at + HOUR + RETRY_MS) == (number < MOST_ATTEMPTS)
    assert not is_due(own, [Attempt(at)], at + DAY_MS)


@pytest.mark.parametrize(("days", "pause"), [((1,), 7), ((1, 2, 3, 4, 5, 6, 7), 1), ((1, 4), 4), ((6, 7), 6), ((), 0)])
def test_the_longest_pause_of_a_plan_is_known(days: tuple[int, ...], pause: int) -> None:
    assert longest_pause(policy(*days)) == pause * DAY_MS
    assert longest_pause(None) == 0


@pytest.mark.parametrize("offset", ["+1300", "+1201", "0800", "+08:00", "Z", "+8"])
def test_what_is_no_offset_is_none(offset: str) -> None:
    assert zone_of(offset) is None


@pytest.mark.parametrize("period", ["", "2:00-3:00", "24:00-25:00", "02:00", "02:60-03:00", "02:00-03:00\n"])
def test_what_is_no_period_is_none(period: str) -> None:
    assert begin_of(period) is None


@given(
    st.lists(
        st.tuples(
            st.integers(0, 50),
            st.sampled_from(["succeed", "pending", "failed", "expired", "deleted"]),
            st.none() | st.integers(0, 100),
        ),
        max_size=8,
    ),
    st.integers(0, 100),
)
def test_the_last_good_backup_never_expires(rows: list[tuple[int, Any, int | None]], now: int) -> None:
    all_backups = [
        backup(at, id=str(number), state=state, expires_at=expires) for number, (at, state, expires) in enumerate(rows)
    ]
    gone = expired(all_backups, now)
    last = last_good(all_backups)
    assert last not in gone
    assert all(one.state == "succeed" and one.expires_at is not None and one.expires_at <= now for one in gone)
    if any(one.state == "succeed" for one in all_backups):
        assert last
        assert last.taken_at == max(one.taken_at or 0 for one in all_backups if one.state == "succeed")
    kept = [one for one in all_backups if one.state == "succeed" and one not in gone and one is not last]
    assert all(one.expires_at is None or one.expires_at > now for one in kept)
