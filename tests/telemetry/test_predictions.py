"""Errors of a task's estimates, and whether its intervals held."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from cachewright.model.tasks import Forecast, Task
from cachewright.telemetry.metrics import Metrics
from cachewright.telemetry.predictions import AT_BEGIN, Prediction, latest, outcomes
from database_fixtures import a_task, new_database

BEGIN, END = 1_000, 101_000


def at(seconds: float, remaining: float, *, percent: int = 0, marks: tuple[int, ...] = (), **members: Any) -> Task:
    """A task that runs, as it is stored so many seconds after its begin. It has just reached the last mark."""
    now = BEGIN + int(seconds * 1000)
    forecasts = tuple(
        Forecast(percent=mark, at=now if mark == marks[-1] else 0, remaining_seconds=remaining) for mark in marks
    )
    told = {"remaining_seconds": remaining, "percent": percent, "forecasts": forecasts, "estimated_at": now}
    return a_task(kind="resize", status="EXECUTING", begin_time=BEGIN, **told | members)


def ended(*errors: tuple[int, float], **members: Any) -> Task:
    """A task that took 100 s, with the errors of its record."""
    forecasts = tuple(Forecast(percent=mark, at=0, remaining_seconds=0.0, error=error) for mark, error in errors)
    return a_task(kind="resize", status="SUCCESS", begin_time=BEGIN, end_time=END, forecasts=forecasts, **members)


def course(*tasks: Task) -> tuple[Prediction, ...]:
    known: tuple[Prediction, ...] = ()
    for task in tasks:
        known = latest(task, known)
    return known


def test_the_plan_and_each_mark_are_kept_once() -> None:
    known = course(
        a_task(),
        at(0, 80),
        at(1, 70, percent=4),
        at(30, 70, percent=27, marks=(25,)),
        at(31, 5, percent=28, marks=(25,)),
        at(50, 45, percent=51, marks=(25, 50)),
    )
    assert [(told.mark, told.remaining) for told in known] == [(AT_BEGIN, 80), (25, 70), (50, 45)]


def test_errors_are_shares_of_the_duration_with_their_sign() -> None:
    found = outcomes(ended((50, 0.2)), course(at(0, 80), at(50, 70, percent=50, marks=(50,))))
    assert [(told.mark, pytest.approx(told.error)) for told in found] == [(0, -0.2), (50, 0.2)]


@pytest.mark.parametrize(
    ("low", "high", "held"), [(90, 110, "held"), (101, 110, "earlier"), (50, 99, "later"), (0.0, 0.0, None)]
)
def test_an_interval_holds_if_the_end_is_in_it(low: float, high: float, held: str | None) -> None:
    (told,) = outcomes(ended(), course(at(0, 95, remaining_low=low, remaining_high=high)))
    assert told.held == held


def test_estimates_of_an_earlier_server_are_in_the_record() -> None:
    (told,) = outcomes(ended((10, 0.1)), ())
    assert (told.mark, told.error, told.held) == (10, 0.1, None)


def test_a_task_that_failed_has_none() -> None:
    assert not list(outcomes(a_task(status="FAILED", begin_time=1, end_time=2), course(at(0, 80))))


@given(st.floats(0, 1000), st.floats(0, 100), st.floats(0, 100))
def test_an_interval_around_the_end_holds(told_at: float, below: float, above: float) -> None:
    left = (END - BEGIN) / 1000 - told_at
    known = (Prediction(mark=AT_BEGIN, at=END - int(left * 1000), remaining=left, low=left - below, high=left + above),)
    (told,) = outcomes(ended(), known)
    assert told.error == pytest.approx(0, abs=1e-4)
    assert told.held == "held" or min(below, above) < 0.001


def test_they_are_counted_by_kind_and_mark(tmp_path: Any) -> None:
    database = new_database(tmp_path)
    metrics = Metrics(database)
    for task in (at(0, 80, remaining_low=70, remaining_high=90), at(50, 70, percent=50, marks=(50,)), ended((50, 0.2))):
        metrics.see(task)
    samples = {
        (sample.name, *(sample.labels.get(label) for label in ("progress", "le", "outcome"))): sample.value
        for family in text_string_to_metric_families(metrics.text().decode())
        for sample in family.samples
        if sample.labels.get("kind") == "resize"
    }
    database.close()
    name = "cachewright_task_prediction"
    assert samples[f"{name}_error_ratio_count", "50", None, None] == 1
    assert samples[f"{name}_error_ratio_bucket", "0", "0.15", None] == 0
    assert samples[f"{name}_error_ratio_bucket", "0", "0.25", None] == 1
    assert samples[f"{name}_bias_ratio_bucket", "0", "-0.1", None] == 1, "too early"
    assert samples[f"{name}_bias_ratio_bucket", "50", "0.1", None] == 0, "too late"
    assert samples[f"{name}_bias_ratio_bucket", "50", "0.25", None] == 1
    assert samples[f"{name}_intervals_total", "0", None, "later"] == 1
    assert samples[f"{name}_intervals_total", "50", None, "held"] == 0
