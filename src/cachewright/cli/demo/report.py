"""Measurements of the demo, the failures among them, and their tables. Pure."""

from collections.abc import Iterator
from itertools import chain

import msgspec
from rich.table import Table
from rich.text import Text

from cachewright.cli.demo.latency import Latency
from cachewright.cli.demo.load import Loaded, Verified
from cachewright.cli.demo.prediction import Prediction
from cachewright.cli.demo.watch import Watched
from cachewright.cli.demo.wire import Outcome
from cachewright.client.progress import Moved

_EXAMPLES = 3
_MARKS = (10, 25, 50, 75, 90)
_GOALS = {10: 0.10, 25: 0.08, 50: 0.05, 90: 0.02}
"""Largest median error at a percent, as a share of the duration."""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One task that created or scaled the cluster. `descents` lists decreases of its percent and must be empty."""

    from_shards: int
    to_shards: int
    status: str
    seconds: float
    moved: Moved
    keys_per_second: float
    prediction: Prediction | None
    descents: tuple[tuple[int, int], ...]


class Traffic(msgspec.Struct, frozen=True, kw_only=True):
    """Results of the clients. `longest_stall_ms` is the longest operation while the cluster was scaled."""

    operations: int
    errors: int
    wrong_answers: int
    examples: tuple[str, ...]
    acknowledged: int
    lost: int
    quiet: Latency
    scale_out: Latency
    scale_in: Latency
    longest_stall_ms: float


class Report(msgspec.Struct, frozen=True, kw_only=True):
    keys: int
    shard_gb: int
    creation: Change
    loaded: Loaded
    scale_out: Change
    scale_in: Change
    traffic: Traffic
    data: Verified
    processes_left: int
    server_stopped: bool


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Output of `--json`. `failures` is empty if `ok`; the report is null if the demo was aborted."""

    ok: bool
    failures: tuple[str, ...]
    report: Report | None


def change(watched: Watched, from_shards: int, to_shards: int) -> Change:
    return Change(
        from_shards=from_shards,
        to_shards=to_shards,
        status=watched.row.status,
        seconds=watched.seconds,
        moved=watched.moved,
        keys_per_second=watched.moved.keys_per_second,
        prediction=watched.prediction,
        descents=tuple(watched.descents),
    )


def traffic(outcome: Outcome, quiet: Latency, scale_out: Latency, scale_in: Latency) -> Traffic:
    errors = [f"{failure.kind}: {failure.message}" for failure in outcome.failures[:_EXAMPLES]]
    return Traffic(
        operations=outcome.operations,
        errors=outcome.errors,
        wrong_answers=outcome.wrong_answers,
        examples=(*errors, *outcome.read_back.examples[:_EXAMPLES]),
        acknowledged=outcome.read_back.acknowledged,
        lost=outcome.read_back.lost,
        quiet=quiet,
        scale_out=scale_out,
        scale_in=scale_in,
        longest_stall_ms=max(scale_out.longest_ms, scale_in.longest_ms),
    )


def verdict(report: Report) -> Verdict:
    failures = tuple(_failures(report))
    return Verdict(ok=not failures, failures=failures, report=report)


def _failures(report: Report) -> Iterator[str]:
    named = (("creation", report.creation), ("scale-out", report.scale_out), ("scale-in", report.scale_in))
    yield from chain.from_iterable(_change_failures(name, task) for name, task in named)
    yield from _traffic_failures(report.traffic)
    if report.data.missing or report.data.changed:
        examples = ", ".join(report.data.examples)
        yield f"of the loaded keys {report.data.missing} are missing and {report.data.changed} changed: {examples}"
    if report.processes_left:
        yield f"{report.processes_left} node processes were still running; they were killed"
    if not report.server_stopped:
        yield "the server did not stop cleanly"


def _change_failures(name: str, task: Change) -> Iterator[str]:
    if task.status != "SUCCESS":
        yield f"the {name} task ended {task.status}"
    if task.descents:
        yield f"the percent of the {name} went down: " + ", ".join(f"{a} to {b}" for a, b in task.descents)
    if task.from_shards and task.status == "SUCCESS" and not task.moved.keys:
        yield f"the {name} reports no moved keys"


def _traffic_failures(traffic: Traffic) -> Iterator[str]:
    examples = f" ({'; '.join(traffic.examples)})" if traffic.examples else ""
    if traffic.errors:
        yield f"{traffic.errors} client operations ended in an error{examples}"
    if traffic.wrong_answers:
        yield f"{traffic.wrong_answers} answers contradicted an acknowledged write{examples}"
    if traffic.lost:
        yield f"{traffic.lost} of {traffic.acknowledged} acknowledged writes were lost{examples}"
    if not all(phase.operations for phase in (traffic.quiet, traffic.scale_out, traffic.scale_in)):
        yield "a phase had no client operations, so it has no latency"


def tables(report: Report) -> Iterator[Table]:
    yield _changes_table(report)
    yield _predictions_table(report)
    yield _traffic_table(report.traffic)
    yield _checks_table(report)


def _changes_table(report: Report) -> Table:
    table = Table("change", title="Scaling", title_justify="left")
    for heading in ("task", "migration", "ranges", "keys", "MB", "keys/s"):
        table.add_column(heading, justify="right")
    for task in (report.scale_out, report.scale_in):
        table.add_row(
            f"{task.from_shards} to {task.to_shards} shards",
            f"{task.seconds:.2f} s",
            f"{task.moved.seconds:.2f} s",
            f"{task.moved.ranges}",
            f"{task.moved.keys:,}",
            f"{task.moved.bytes / 1e6:.1f}",
            f"{task.keys_per_second:,.0f}",
        )
    return table


def _predictions_table(report: Report) -> Table:
    goals = ", ".join(f"{goal:.0%} at {percent} %" for percent, goal in _GOALS.items())
    caption = (
        "Errors of the predicted end as shares of the task's duration: + too late, - too early. The plan is made "
        f"before the request. Goals: {goals}. Shown: errors of what a client polls, which is in whole seconds."
    )
    table = Table("task", title="Remaining time", title_justify="left", caption=caption, caption_justify="left")
    for heading in ("plan", *(f"{percent} %" for percent in _MARKS), "shown: median", "worst"):
        table.add_column(heading, justify="right")
    for task in (report.scale_out, report.scale_in):
        told = task.prediction
        name = f"{task.from_shards} to {task.to_shards} shards"
        if told is None:
            table.add_row(name, "none")
            continue
        own = {mark.percent: mark.error for mark in told.marks}
        rival = {mark.percent: mark.extrapolated for mark in told.marks}
        table.add_row(
            name,
            _planned(told),
            *(_error(own.get(percent), _GOALS.get(percent)) for percent in _MARKS),
            f"{told.median_seconds:.1f} s",
            f"{told.worst_seconds:.1f} s",
        )
        table.add_row("elapsed / percent", "", *(_error(rival.get(percent)) for percent in _MARKS), style="dim")
    return table


def _planned(told: Prediction) -> str:
    if told.planned_seconds is None or told.planned_share is None:
        return ""
    return f"{told.planned_seconds:.1f} s ({told.planned_share:+.0%})"


def _error(error: float | None, goal: float | None = None) -> Text:
    """An error, in colour where there is a goal. An estimate is missing if the percent skipped its mark."""
    if error is None:
        return Text("-")
    style = "" if goal is None else "green" if abs(error) <= goal else "yellow"
    return Text(f"{error:+.0%}", style=style)


def _traffic_table(traffic: Traffic) -> Table:
    caption = (
        "Control: requests of the same client in the same time to a node that does not scale. They show what latency "
        "the host adds. The clients, all nodes, the server and this display share its processors."
    )
    table = Table(title="Client latency", title_justify="left", caption=caption, caption_justify="left")
    table.add_column("phase", min_width=len("scale-out"))
    for heading in ("requests", "p50", "p99", "longest read", "longest write", "over 10 ms"):
        table.add_column(heading, justify="right")
    for heading in ("control: p99", "longest"):
        table.add_column(heading, justify="right", style="dim")
    for name, phase in (("quiet", traffic.quiet), ("scale-out", traffic.scale_out), ("scale-in", traffic.scale_in)):
        own = (phase.p50_ms, phase.p99_ms, phase.longest_read_ms, phase.longest_write_ms)
        control = (phase.control_p99_ms, phase.control_longest_ms)
        table.add_row(
            name,
            f"{phase.operations:,}",
            *(f"{milliseconds:.2f} ms" for milliseconds in own),
            f"{phase.over_10_ms:.1%}",
            *(f"{milliseconds:.2f} ms" for milliseconds in control),
        )
    return table


def _checks_table(report: Report) -> Table:
    traffic = report.traffic
    table = Table("check", "total", "failed", title="Checks", title_justify="left")
    table.add_row("client operations: errors", f"{traffic.operations:,}", f"{traffic.errors}")
    table.add_row("client operations: wrong answers", f"{traffic.operations:,}", f"{traffic.wrong_answers}")
    table.add_row("acknowledged writes: lost", f"{traffic.acknowledged:,}", f"{traffic.lost}")
    table.add_row("loaded keys: missing", f"{report.data.checked:,}", f"{report.data.missing}")
    table.add_row("loaded keys: changed", f"{report.data.checked:,}", f"{report.data.changed}")
    descents = sum(len(task.descents) for task in (report.creation, report.scale_out, report.scale_in))
    table.add_row("tasks: percent went down", "3", f"{descents}")
    table.add_row("node processes left", "", f"{report.processes_left}")
    return table
