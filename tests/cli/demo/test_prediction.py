"""Accuracy of predictions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachewright.cli.demo.latency import Sample, Target, of_phase, packed, percentile, unpacked
from cachewright.cli.demo.prediction import AtMark, Estimate, ProgressSample, accuracy, descents

PERCENTS = st.lists(st.integers(0, 100), max_size=30)


def test_a_perfect_prophet() -> None:
    told = [ProgressSample(at, at * 10, 10 - at) for at in range(11)]
    found = accuracy(told, 0, 10)
    assert found
    assert (found.samples, found.median_seconds, found.worst_seconds, found.worst_share) == (9, 0, 0, 0)


def test_errors_in_seconds_and_as_shares() -> None:
    told = [
        ProgressSample(100, 5, 99),
        ProgressSample(102, 20, 8),
        ProgressSample(104, 50, 4),
        ProgressSample(106, 90, 1),
    ]
    found = accuracy(told, 100, 110)
    assert found
    assert (found.samples, found.median_seconds, found.worst_seconds) == (3, 2, 3)
    assert (found.median_share, found.worst_share) == (0.2, 0.3)


def test_before_ten_percent_and_after_the_end_nothing_is_judged() -> None:
    assert (
        accuracy(
            [ProgressSample(1, 9, 3), ProgressSample(2, 100, 0), ProgressSample(5, 50, 3), ProgressSample(3, 50, None)],
            0,
            4,
        )
        is None
    )


def test_estimates_of_the_record_are_compared_with_the_percent_alone() -> None:
    told = [ProgressSample(102, 20, 8)]
    estimates = [Estimate(percent=20, at=102, remaining=9), Estimate(percent=50, at=104, remaining=4.5)]
    found = accuracy(told, 100, 110, estimates, planned=8)
    assert found
    assert (found.planned_seconds, found.planned_share) == (8, -0.2)
    assert found.marks == (
        AtMark(percent=20, error=0.1, extrapolated=0.0),
        AtMark(percent=50, error=-0.15, extrapolated=-0.2),
    )


@given(st.integers(1, 99), st.floats(1, 1000))
def test_a_percent_that_is_linear_in_time_extrapolates_to_the_end(percent: int, seconds: float) -> None:
    at = seconds * percent / 100
    estimate = Estimate(percent=percent, at=at, remaining=0)
    found = accuracy([ProgressSample(0, 10, 1)], 0, seconds, [estimate])
    assert found
    (mark,) = found.marks
    assert mark.extrapolated == pytest.approx(0, abs=1e-9)
    assert mark.error == pytest.approx(percent / 100 - 1)


def test_a_task_that_took_no_time_is_not_judged() -> None:
    assert accuracy([ProgressSample(1, 50, 0)], 1, 1) is None


def test_each_descent_is_found() -> None:
    told = [ProgressSample(at, percent, 1) for at, percent in enumerate([0, 10, 9, 9, 40, 39, 100])]
    assert descents(told) == [(10, 9), (40, 39)]


@given(PERCENTS)
def test_sorted_percents_never_descend(percents: list[int]) -> None:
    told = [ProgressSample(at, percent, 1) for at, percent in enumerate(sorted(percents))]
    assert descents(told) == []


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0.01, 1))
def test_a_percentile_is_not_exceeded_by_its_share(values: list[float], share: float) -> None:
    ordered = sorted(values)
    found = percentile(ordered, share)
    assert found in ordered
    assert sum(value <= found for value in ordered) >= share * len(ordered) - 1e-6


def test_a_phase_counts_what_was_due_in_it() -> None:
    samples = [Sample(at / 100, 0.001 if at != 150 else 0.5, 0.0, Target(at % 2)) for at in range(300)]
    quiet = of_phase(unpacked(packed(samples)), 0, 1)
    assert (quiet.operations, quiet.longest_ms, quiet.client_late_p99_ms) == (100, 1.0, 0.0)
    assert of_phase(samples, 1, 2).longest_ms == 500
    assert of_phase(samples, 7, 8).operations == 0


def test_reads_writes_and_the_control_node_are_told_apart() -> None:
    seconds = {Target.READ: 0.004, Target.WRITE: 0.03, Target.CONTROL: 0.2}
    samples = [Sample(0.5, took, 0.0, target) for target, took in seconds.items()]
    found = of_phase(unpacked(packed(samples)), 0, 1)
    assert (found.operations, found.longest_ms, found.longest_read_ms, found.longest_write_ms) == (2, 30, 4, 30)
    assert (found.over_10_ms, found.control_longest_ms) == (0.5, 200)
