"""Widths of intervals, learned from the ends of tasks."""

import random
from collections.abc import Iterator

import msgspec
import pytest

from cachewright.model.tasks import Forecast, Task
from cachewright.store.database import Database
from cachewright.tasks import calibration
from cachewright.tasks.calibration import OUTSIDE, updated, widths_at
from cachewright.tasks.forecast import MARKS
from cachewright.tasks.plan import SubStepSpec, build, effort
from cachewright.tasks.progress import UNLEARNED, Widths, estimate
from database_fixtures import a_task, migrated


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = migrated(database_url)
    yield database
    database.close()


def a_forecast(low: float, high: float, percent: int = 50) -> Forecast:
    return Forecast(percent=percent, at=0, remaining_seconds=(low + high) / 2, low=low, high=high)


def ended(seconds: float, *forecasts: Forecast, **changes: object) -> Task:
    return msgspec.structs.replace(
        a_task(status="SUCCESS"), end_time=int(seconds * 1000), forecasts=forecasts, **changes
    )


def test_the_factors_rest_where_one_task_of_ten_ends_beyond_each_side() -> None:
    chance, widths, beyond = random.Random(7), UNLEARNED, []
    for _ in range(4000):
        told = a_forecast(10 - widths.low, 10 + widths.high)
        end = round(1000 * chance.gauss(10, 2))
        beyond.append((end < told.low * 1000, end > told.high * 1000))  # type: ignore[operator]  # both are set
        widths = updated(widths, told, end)
    for side in zip(*beyond[500:], strict=True):
        assert sum(side) / len(side) == pytest.approx(OUTSIDE, abs=0.02)


def test_each_kind_and_percent_has_its_own_factors(database: Database) -> None:
    with database.write() as connection:
        for _ in range(5):
            calibration.learn(connection, ended(30, a_forecast(5, 10)))
        known = calibration.load(connection, ended(30).kind)
        assert known[50].high > 2
        assert known[50].low < 1
        assert known[90] == UNLEARNED
        assert set(calibration.load(connection, "another kind").values()) == {UNLEARNED}


def test_a_task_that_has_waited_teaches_nothing(database: Database) -> None:
    drafts = {"Step.": [SubStepSpec(name="s", action="a", work=effort("a", seconds=1.0))]}
    steps = build("t", drafts)
    waited = tuple(
        msgspec.structs.replace(step, sub_steps=(msgspec.structs.replace(step.sub_steps[0], waited_ms=5_000),))
        for step in steps
    )
    with database.write() as connection:
        calibration.learn(connection, ended(30, a_forecast(5, 10), steps=waited))
        assert set(calibration.load(connection, ended(30).kind).values()) == {UNLEARNED}
        calibration.learn(connection, ended(30, a_forecast(5, 10), steps=steps))
        assert calibration.load(connection, ended(30).kind)[50] != UNLEARNED


def test_factors_stay_within_their_limits() -> None:
    widths = UNLEARNED
    for _ in range(100):
        widths = updated(widths, a_forecast(1, 2), 60_000)
    assert widths == Widths(0.3, 5.0)


def test_a_percent_between_two_marks_has_the_factors_of_the_lower_one() -> None:
    widths = {mark: Widths(mark, mark) for mark in MARKS}
    assert [widths_at(percent, widths).low for percent in (0, 10, 24, 89, 99)] == [10, 10, 10, 75, 90]


def test_the_interval_has_these_widths() -> None:
    steps = build("t", {"Step.": [SubStepSpec(name="s", action="a", work=effort("a", seconds=100.0))]})
    plain, wide = estimate(steps, 0), estimate(steps, 0, widths=Widths(1.5, 2.0))
    assert wide.remaining_seconds == plain.remaining_seconds
    assert wide.remaining_seconds - wide.low == pytest.approx(1.5 * (plain.remaining_seconds - plain.low))
    assert wide.high - wide.remaining_seconds == pytest.approx(2.0 * (plain.high - plain.remaining_seconds))
