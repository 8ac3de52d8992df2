"""Findings, tables and the picture of the benchmark of remaining time. Errors of different percents are never mixed."""

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from bench.remaining_cases import Kind, kind_of, without_interruption
from bench.remaining_metrics import MARKS
from bench.remaining_rivals import NAIVE, RIVALS, WINDOWED
from bench.results import Finding, Row, Spread, Summary, Table, compared_to_goal, spread

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OURS = "Cachewright"

_MEDIAN_GOALS = {10: 0.10, 25: 0.08, 50: 0.05, 90: 0.02}
_P90_GOALS = {10: 0.25, 25: 0.20, 50: 0.12, 90: 0.05}
_PLAN_GOAL = 0.25
_MEAN_DEVIATION_GOAL = 0.04
_LARGEST_DEVIATION_GOAL = 0.10
_COVERAGE_GOAL = (0.75, 0.85)
_JUMPS_GOAL = 0.02
_TENTH = 10


def errors(rows: Sequence[Row], mark: int, contestant: str = OURS) -> list[float]:
    """Absolute errors of a contestant at one percent."""
    return [abs(error) for error in _figures(rows, f"error_at_{mark}", contestant)]


def plan_errors(rows: Sequence[Row]) -> list[float]:
    """Absolute errors of plans after at least one task of the kind on the same installation."""
    return [abs(row.values["plan_error"]) for row in _own(rows) if row.values["earlier_of_kind"]]


def repeat_errors(rows: Sequence[Row]) -> list[float]:
    """Absolute errors of the simplest prediction that knows the machine: that a task takes as long as the last one of
    the same scale of the same instance."""
    last: dict[tuple[str, ...], float] = {}
    found = []
    for row in _own(rows):
        name, seconds = without_interruption(row.case), row.values["active_seconds"]
        if name in last:
            found.append(abs(last[name] - seconds) / seconds)
        last[name] = seconds
    return found


def p90(values: Sequence[float]) -> float:
    """The smallest value that nine of ten do not exceed."""
    return sorted(values)[math.ceil(0.9 * len(values)) - 1]


def summary(rows: Sequence[Row]) -> Summary:
    early, middle, late = (_median_percent(errors(rows, mark)) for mark in (10, 50, 90))
    naive, windowed = (_median_percent(errors(rows, 50, rival)) for rival in (NAIVE, WINDOWED))
    missed = [finding.what for finding in findings(rows) if finding.met is False]
    return Summary(
        f"Accuracy of the remaining time, over {len(_own(rows))} scales",
        "elapsed time x (100 - percent) / percent; the rate of a moving window, as in Linux md",
        f"Off by {early} of the duration at 10 %, by {middle} at 50 % and by {late} at 90 % (medians); the peers at "
        f"50 % by {naive} and {windowed}.",
        f"Goals missed: {'; '.join(missed)}." if missed else "No goal is missed.",
    )


def findings(rows: Sequence[Row]) -> list[Finding]:
    return list(_findings(rows))


def _findings(rows: Sequence[Row]) -> Iterator[Finding]:
    for mark in MARKS:
        if not (found := errors(rows, mark)):
            continue
        what = f"error at {mark} %, as a share of the duration"
        yield _finding(f"{what}: median", spread(found), _MEDIAN_GOALS.get(mark))
        yield _finding(f"{what}: 90th percentile", _single(p90(found), len(found)), _P90_GOALS.get(mark))
    if plans := plan_errors(rows):
        what = "plan's seconds before the start, after one task of the kind: 90th percentile of the error"
        yield _finding(what, _single(p90(plans), len(plans)), _PLAN_GOAL)
    if repeats := repeat_errors(rows):
        what = "difference between the durations of two successive tasks that do the same"
        yield _finding(f"{what}: median", spread(repeats), None)
        yield _finding(f"{what}: 90th percentile", _single(p90(repeats), len(repeats)), None)
    own = _own(rows)
    means, largest = (_figures(rows, f"percent_{which}_deviation") for which in ("mean", "largest"))
    if means and largest:
        average = _single(statistics.mean(means), len(means))
        yield _finding("percent against elapsed share, mean deviation", average, _MEAN_DEVIATION_GOAL)
        what = "percent against elapsed share, largest deviation in a task"
        yield _finding(f"{what}: median", spread(largest), None)
        yield _finding(f"{what}: 90th percentile", _single(p90(largest), len(largest)), _LARGEST_DEVIATION_GOAL)
    if covered := _figures(rows, "interval_coverage"):
        low, high = _COVERAGE_GOAL
        share = statistics.mean(covered)
        yield Finding(
            what="share of moments at which the interval holds the true end",
            figure=_single(share, len(covered)),
            unit="",
            goal=f"{low:g} to {high:g}",
            met=low <= share <= high,
        )
    jumping = sum(row.values["jumps"] > 0 for row in own) / len(own)
    what = "share of tasks whose shown end jumps by more than 15 % of the duration without a recorded cause"
    yield compared_to_goal(what, _single(jumping, len(own)), "<", _JUMPS_GOAL, "")
    for mark in MARKS:
        for rival in RIVALS:
            if (theirs := errors(rows, mark, rival)) and (found := errors(rows, mark)):
                share = statistics.median(found) / max(statistics.median(theirs), 1e-9)
                what = f"median error at {mark} %, of that of {rival}"
                yield compared_to_goal(what, _single(share, len(found)), "<", 1.0)


def tables(rows: Sequence[Row]) -> list[Table]:
    return [
        Table(
            "Errors by percent, median / 90th percentile, % of the duration",
            ("at", "goal", OURS, *RIVALS),
            [_mark_row(rows, mark) for mark in MARKS if errors(rows, mark)],
        ),
        Table(
            f"Errors by kind and percent, median / 90th percentile (median of {NAIVE}), % of the duration",
            ("tasks", "number", *(f"at {mark} %" for mark in MARKS)),
            [_kind_row(rows, name, one) for name, one in _kinds(rows)],
        ),
        Table(
            "Plan, percent and interval by kind",
            ("tasks", "number", "plan's error, median / 90th percentile", "percent's deviation, mean / largest",
             "interval holds", "tasks with jumps"),
            [_other_row(rows, name, one) for name, one in _kinds(rows)],
        ),
        Table(
            f"Each task: error at the percent, % of the duration, positive if too late; {NAIVE} in brackets",
            ("task", "seconds", "planned", *(f"{mark} %" for mark in MARKS), "percent's deviation, mean / largest",
             "interval holds", "jumps"),
            [_task_row(rows, row) for row in _own(rows)],
        ),
    ]  # fmt: skip


def draw(rows: Sequence[Row], figure: "Figure") -> None:
    names = (OURS, *RIVALS)
    every = figure.subplots(1, len(names), sharey=True)
    for axes, name, colour in zip(every, names, ("C0", "C1", "C2"), strict=True):
        for row in rows:
            if row.contestant == name:
                told_at = [mark for mark in MARKS if f"error_at_{mark}" in row.values]
                signed = [100 * row.values[f"error_at_{mark}"] for mark in told_at]
                axes.plot(told_at, signed, color=colour, alpha=0.35, linewidth=1, marker=".")
        bound = [100 * goal for goal in _P90_GOALS.values()]
        axes.fill_between(list(_P90_GOALS), [-one for one in bound], bound, color="0.9")
        axes.set_ylim(-80, 120)
        axes.set_title(name, fontsize=9)
        axes.set_xlabel("percent shown")
    every[0].set_ylabel("predicted end too late by, % of the task's duration")


def _finding(what: str, figure: Spread, goal: float | None) -> Finding:
    if goal is None:
        return Finding(what=what, figure=figure, unit="")
    return compared_to_goal(what, figure, "<=", goal, "")


def _single(value: float, count: int) -> Spread:
    """One figure of many values; shown without their range."""
    return Spread(median=value, low=value, high=value, count=1 if count else 0)


def _own(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row.contestant == OURS]


def _figures(rows: Sequence[Row], metric: str, contestant: str = OURS) -> list[float]:
    return [row.values[metric] for row in rows if row.contestant == contestant and metric in row.values]


def _kinds(rows: Sequence[Row]) -> Iterator[tuple[str, list[Row]]]:
    """Yield each kind of task with its rows: by each property, and by the number of the task on its installation."""
    kinds = {row.case: kind_of(row.case) for row in rows}
    for property_name in Kind.__struct_fields__:
        for value in dict.fromkeys(getattr(kind, property_name) for kind in kinds.values()):
            yield value, [row for row in rows if getattr(kinds[row.case], property_name) == value]
    numbers = {row.round: int(row.values["number"]) for row in _own(rows)}
    orders: tuple[tuple[str, Callable[[int], bool]], ...] = (
        ("first on an installation", lambda number: number == 1),
        ("second to ninth", lambda number: 1 < number < _TENTH),
        ("tenth and later", lambda number: number >= _TENTH),
    )
    for name, matches in orders:
        if chosen := [row for row in rows if matches(numbers[row.round])]:
            yield name, chosen


def _mark_row(rows: Sequence[Row], mark: int) -> tuple[str, ...]:
    goal = f"{100 * _MEDIAN_GOALS[mark]:g} / {100 * _P90_GOALS[mark]:g}" if mark in _MEDIAN_GOALS else ""
    return (f"{mark} %", goal, *(_median_and_p90(errors(rows, mark, name)) for name in (OURS, *RIVALS)))


def _kind_row(rows: Sequence[Row], name: str, chosen: Sequence[Row]) -> tuple[str, ...]:
    cells = []
    for mark in MARKS:
        naive = errors(chosen, mark, NAIVE)
        beside = f" ({100 * statistics.median(naive):.1f})" if naive else ""
        cells.append(_median_and_p90(errors(chosen, mark)) + beside)
    return (name, str(len(_own(chosen))), *cells)


def _other_row(rows: Sequence[Row], name: str, chosen: Sequence[Row]) -> tuple[str, ...]:
    own = _own(chosen)
    covered = _figures(chosen, "interval_coverage")
    return (
        name,
        str(len(own)),
        _median_and_p90(plan_errors(chosen)),
        _deviations(own),
        f"{100 * statistics.mean(covered):.0f}" if covered else "",
        str(sum(row.values["jumps"] > 0 for row in own)),
    )


def _task_row(rows: Sequence[Row], own: Row) -> tuple[str, ...]:
    naive = next((row for row in rows if row.contestant == NAIVE and row.round == own.round), own)
    covered = own.values.get("interval_coverage")
    return (
        f"{own.round}: {own.case}",
        f"{own.values['seconds']:.1f}",
        f"{own.values['plan_seconds']:.1f}",
        *(_signed(own, mark) + (f" ({_signed(naive, mark)})" if _signed(naive, mark) else "") for mark in MARKS),
        _deviations([own]),
        "" if covered is None else f"{100 * covered:.0f}",
        f"{own.values['jumps']:.0f}",
    )


def _signed(row: Row, mark: int) -> str:
    error = row.values.get(f"error_at_{mark}")
    return "" if error is None else f"{100 * error:+.0f}"


def _deviations(rows: Sequence[Row]) -> str:
    means, largest = (_figures(rows, f"percent_{which}_deviation") for which in ("mean", "largest"))
    return f"{100 * statistics.mean(means):.1f} / {100 * max(largest):.1f}" if means else ""


def _median_percent(found: Sequence[float]) -> str:
    return f"{statistics.median(found):.1%}" if found else "an unknown part"


def _median_and_p90(found: Sequence[float]) -> str:
    return f"{100 * statistics.median(found):.1f} / {100 * p90(found):.1f}" if found else ""
