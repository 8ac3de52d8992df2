"""Errors of estimates in the benchmark of remaining time, and the rivals'."""

import math

import pytest
from bench.remaining_cases import INSTALLATIONS, Cause, Clients, kind_of, without_interruption
from bench.remaining_metrics import MARKS, Interruption, Observed, Sample, jumps, own_values, rival_values
from bench.remaining_report import OURS, errors, findings, p90, plan_errors, repeat_errors, summary, tables
from bench.remaining_rivals import NAIVE, RIVALS, WINDOWED, Shown, elapsed_by_percent, windowed_rate
from bench.results import Row
from hypothesis import given
from hypothesis import strategies as st

BEGUN = 1000.0
durations = st.floats(5, 300)


def steady(duration: float, *, pause: Interruption | None = None, every: float = 0.2) -> Observed:
    """A task whose percent and estimate are right at all times, apart from the rounding of the percent."""
    cuts = (pause,) if pause else ()
    ended = BEGUN + duration + sum(cut.end - cut.begin for cut in cuts)
    blank = Observed(begun=BEGUN, ended=ended, planned=duration, samples=(), interruptions=cuts)
    times = [BEGUN + every * number for number in range(1, int((ended - BEGUN) / every))]
    samples = [
        Sample(
            at=at,
            percent=int(100 * blank.elapsed_share(at)),
            remaining=blank.end_after(at) - at,
            low=blank.end_after(at) - at - 0.01,
            high=blank.end_after(at) - at + 0.01,
        )
        for at in times
    ]
    return Observed(begun=BEGUN, ended=ended, planned=duration, samples=tuple(samples), interruptions=cuts)


@given(durations)
def test_a_right_estimate_has_no_error(duration: float) -> None:
    values = own_values(steady(duration))
    assert [values[f"error_at_{mark}"] for mark in MARKS] == pytest.approx([0] * len(MARKS), abs=1e-9)
    assert values["interval_coverage"] == 1
    assert values["jumps"] == 0
    assert values["percent_largest_deviation"] <= 0.0101


@given(durations, st.floats(0.05, 0.95), st.floats(1, 60))
def test_a_pause_that_nobody_foresees_is_no_error(duration: float, share: float, length: float) -> None:
    begin = BEGUN + share * duration
    values = own_values(steady(duration, pause=Interruption(begin, begin + length)))
    assert values["seconds"] == pytest.approx(duration + length)
    assert values["active_seconds"] == pytest.approx(duration)
    assert values["plan_error"] == pytest.approx(0, abs=1e-6)
    assert [values[f"error_at_{mark}"] for mark in MARKS] == pytest.approx([0] * len(MARKS), abs=1e-6)
    assert values["percent_largest_deviation"] <= 0.0101


def test_an_estimate_after_a_pause_is_compared_with_the_true_end() -> None:
    task = Observed(begun=0, ended=30, planned=20, samples=(), interruptions=(Interruption(10, 20),))
    assert task.error(25, 5) == 0
    assert task.error(25, 7) == pytest.approx(0.1)
    assert task.error(5, 15) == 0
    assert task.error(15, 10) == 0


@given(durations)
def test_rivals_are_right_about_a_task_without_changes(duration: float) -> None:
    for values in rival_values(steady(duration)).values():
        assert len(values) == len(MARKS)
        assert all(abs(error) < 0.12 for error in values.values())  # the percent is an integer


def test_a_moving_window_forgets_a_slow_begin() -> None:
    shown = [Shown(second, second / 10) for second in range(1, 101)]
    shown += [Shown(100 + second, 10 + 2 * second) for second in range(1, 21)]
    assert elapsed_by_percent(0, shown[-1]) == pytest.approx(120)
    assert windowed_rate(0, shown) == pytest.approx(25)


def test_a_rival_without_progress_has_no_estimate() -> None:
    assert elapsed_by_percent(0, Shown(5, 0)) is None
    assert windowed_rate(0, [Shown(second, 0) for second in range(30)]) is None


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 1),
        ({"is_waiting": True}, 0),
        ({"control": "paused"}, 0),
        ({"at": 52.5}, 0),
        ({"remaining": 51.0}, 0),
    ],
)
def test_a_jump_is_one_without_a_recorded_cause(changes: dict[str, object], expected: int) -> None:
    before = {"at": 50.0, "percent": 50, "remaining": 50.0, "is_waiting": False, "control": "running"}
    after = {**before, "at": 50.2, "remaining": 70.0, **changes}
    samples = (Sample(**before), Sample(**after))  # type: ignore[arg-type]  # members of a struct by name
    task = Observed(begun=0, ended=100, planned=100, samples=samples)
    assert len(jumps(task)) == expected


def test_an_interruption_explains_a_jump() -> None:
    samples = (Sample(at=50, percent=50, remaining=50), Sample(at=50.2, percent=50, remaining=90))
    cut = (Interruption(45, 49),)
    assert not jumps(Observed(begun=0, ended=100, planned=100, samples=samples, interruptions=cut))


@pytest.mark.parametrize("effort", ["quick", "full"])
def test_the_name_of_a_task_tells_its_kind(effort: str) -> None:
    tasks = [(one, at) for group in INSTALLATIONS[effort] for one in group for at in range(len(one.shards) - 1)]  # type: ignore[index]  # both efforts
    for series, position in tasks:
        kind = kind_of(series.name(position))
        assert (kind.content, kind.mode, kind.clients) == (series.content, series.mode, series.clients)
        assert (kind.interruption in set(Cause)) is (position in series.interrupted)


def test_a_full_run_has_what_it_promises() -> None:
    groups = INSTALLATIONS["full"]
    everything = [series for group in groups for series in group]
    assert sum(len(series.shards) - 1 for series in everything) >= 60
    assert all(sum(len(series.shards) - 1 for series in group) >= 10 for group in groups)
    assert {series.mode for series in everything} == {"fastest", "balanced", "gentle"}
    assert {series.clients for series in everything} == set(Clients)
    assert {cause for series in everything for cause in series.interrupted.values()} == set(Cause)
    assert (min(s.megabytes for s in everything), max(s.megabytes for s in everything)) == (50, 2000)


def rows(tasks: list[Observed]) -> list[Row]:
    found = []
    for number, task in enumerate(tasks, start=1):
        name = "small strings, 20 MB, 3 to 5, balanced, no clients"
        order = {"number": float(number), "earlier_of_kind": float(number - 1)}
        found.append(Row(case=name, contestant=OURS, round=number, values=own_values(task) | order))
        found += [
            Row(case=name, contestant=rival, round=number, values=values)
            for rival, values in rival_values(task).items()
        ]
    return found


def test_the_report_of_right_estimates_meets_the_goals() -> None:
    found = findings(rows([steady(20), steady(30)]))
    missed = [finding.what for finding in found if finding.met is False]
    assert missed == ["share of moments at which the interval holds the true end"]
    assert len([finding for finding in found if finding.goal]) == 2 * 4 + 1 + 2 + 1 + 1 + len(MARKS) * len(RIVALS)


def test_the_report_names_each_percent_and_each_task() -> None:
    both = rows([steady(20), steady(30)])
    assert "Off by 0.0%" in summary(both).result
    by_percent, by_kind, _, each = tables(both)
    assert [row[0] for row in by_percent.rows] == [f"{mark} %" for mark in MARKS]
    assert {"small strings", "scale-out", "balanced", "first on an installation"} <= {row[0] for row in by_kind.rows}
    assert len(each.rows) == 2
    assert all(len(row) == len(table.columns) for table in tables(both) for row in table.rows)


def test_the_first_plan_of_a_kind_does_not_count() -> None:
    assert len(plan_errors(rows([steady(20), steady(30), steady(40)]))) == 2


def test_a_task_is_compared_with_the_last_one_that_did_the_same() -> None:
    found = repeat_errors(rows([steady(20), steady(25), steady(50)]))
    assert found == pytest.approx([0.2, 0.5])
    assert without_interruption("a, 3 to 5, paused once") == without_interruption("a, 3 to 5")


@given(st.lists(st.floats(0, 10), min_size=1))
def test_nine_of_ten_do_not_exceed_the_90th_percentile(found: list[float]) -> None:
    bound = p90(found)
    assert bound in found
    assert sum(value <= bound for value in found) >= math.ceil(0.9 * len(found))


def test_errors_of_rivals_are_their_own() -> None:
    found = rows([steady(20)])
    assert errors(found, 50) == pytest.approx([0], abs=1e-9)
    assert all(errors(found, 50, rival) for rival in (NAIVE, WINDOWED))
