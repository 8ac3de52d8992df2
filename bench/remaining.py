"""Accuracy of the estimated end of a task, against an extrapolation from its percent."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from enum import StrEnum
from itertools import cycle
from typing import Any

import msgspec
from matplotlib.figure import Figure

from bench.cluster import BenchCluster
from bench.content import Content, load
from bench.nodes import members
from bench.results import Benchmark, Effort, Finding, Row, Summary, Table, cases, compared_to_goal, formatted, spread
from bench.traffic import TrafficClients, TrafficSpec
from cachewright.cli.demo.cloud import Size
from cachewright.cli.demo.slot_client import Seed
from cachewright.client.account import Account
from cachewright.client.http import ApiClient

OURS, NAIVE = "Cachewright", "elapsed / percent"
_GOAL = 0.10
_MARKS = (10, 25, 50, 75, 90)
_FIRST = 3
_SHARDS = (5, 3, 4, 6, 3, 6, 4, 5, 6, 4, 3)
"""Numbers of shards to which the cluster is scaled in turn, starting with three."""


class Load(StrEnum):
    NONE = "no clients"
    STEADY = "clients"
    CHANGING = "clients that come and go"


class Case(msgspec.Struct, frozen=True, kw_only=True):
    content: Content
    megabytes: int
    shards: tuple[int, ...] = _SHARDS


_CASES: dict[Effort, tuple[Case, ...]] = {
    "quick": (Case(content=Content.SMALL, megabytes=20, shards=(5, 3, 5)),),
    "full": (
        Case(content=Content.SMALL, megabytes=400),
        Case(content=Content.LARGE, megabytes=800),
        Case(content=Content.MIXED, megabytes=600),
    ),
}


def measure(effort: Effort) -> Iterator[Row]:
    with BenchCluster() as cluster:
        access = msgspec.convert(msgspec.to_builtins(cluster.server.access), Account)
        for case in _CASES[effort]:
            instance_id = cluster.create(Size(_FIRST, 1))
            seed = cluster.seed(instance_id)
            load(*members(seed), case.content, case.megabytes, seed.password or "")
            before = _FIRST
            for turn, (shards, kind) in enumerate(zip(case.shards, cycle(Load), strict=False)):
                with _clients(kind, seed):
                    task = cluster.resize(instance_id, Size(shards, 1))
                record = ApiClient(access).ask("GET", f"instances/{instance_id}/tasks/{task.row.id}")
                name = f"{case.content}, {before} to {shards}, {kind}"
                yield from _rows(f"{name} ({turn + 1})", record, task.begun, task.ended)
                before = shards
            cluster.delete(instance_id)


@contextmanager
def _clients(kind: Load, seed: Seed) -> Iterator[None]:
    if kind is Load.NONE:
        yield
    elif kind is Load.STEADY:
        with TrafficClients(TrafficSpec(seed=seed)):
            yield
    else:
        over = threading.Event()
        coming = threading.Thread(target=_come_and_go, args=(seed, over))
        coming.start()
        try:
            yield
        finally:
            over.set()
            coming.join()


def _come_and_go(seed: Seed, over: threading.Event) -> None:
    while not over.wait(1):
        with TrafficClients(TrafficSpec(seed=seed, callers=8, think_seconds=0.001)):
            over.wait(1.5)


def _rows(case: str, record: Any, begun: float, ended: float) -> Iterator[Row]:
    """Errors of the estimates, as shares of the task's duration; positive if the estimated end was too late."""
    duration = ended - begun
    ours = {"seconds": duration}
    naive = {"seconds": duration}
    for forecast in record["forecasts"]:
        percent, at = forecast["progress"], datetime.fromisoformat(forecast["at"]).timestamp()
        ours[f"error_at_{percent}"] = forecast["error"]
        foretold = (at - begun) * (100 - percent) / percent
        naive[f"error_at_{percent}"] = (at + foretold - ended) / duration
    yield Row(case=case, contestant=OURS, round=0, values=ours)
    yield Row(case=case, contestant=NAIVE, round=0, values=naive)


def errors(rows: Sequence[Row], contestant: str, mark: int | None = None) -> list[float]:
    """Absolute errors of a contestant in all tasks, at one mark or at all marks."""
    wanted = _MARKS if mark is None else (mark,)
    told_then = [row.values.get(f"error_at_{at}") for row in rows if row.contestant == contestant for at in wanted]
    return [abs(error) for error in told_then if error is not None]


def summary(rows: Sequence[Row]) -> Summary:
    ours, naive = spread(errors(rows, OURS)), spread(errors(rows, NAIVE))
    early = spread(errors(rows, OURS, _MARKS[0]))
    return Summary(
        f"Accuracy of the remaining time, over {len(cases(rows))} scales",
        "elapsed time x (100 - percent) / percent",
        f"Off by {ours.median:.1%} of the task's duration (median); the peer by {naive.median:.1%}.",
        f"Off by {early.median:.1%} at {_MARKS[0]} % progress (median), and by {ours.high:.0%} at worst, where clients "
        "come and go.",
    )


def findings(rows: Sequence[Row]) -> list[Finding]:
    ours, naive = spread(errors(rows, OURS)), spread(errors(rows, NAIVE))
    return [
        compared_to_goal(
            f"{len(cases(rows))} tasks: how far off, as a share of the whole duration", ours, "<=", _GOAL, ""
        ),
        Finding(what="the same by elapsed time and percent", figure=naive, unit=""),
    ]


def tables(rows: Sequence[Row]) -> list[Table]:
    marks = [
        (f"{mark} %", *(formatted(spread(errors(rows, name, mark))) for name in (OURS, NAIVE)))
        for mark in _MARKS
        if errors(rows, OURS, mark)
    ]
    tasks = [
        (
            case,
            formatted(spread([own.values["seconds"]])),
            formatted(spread(errors([own], OURS))),
            formatted(spread(errors([other], NAIVE))),
        )
        for case in cases(rows)
        for own, other in [[row for row in rows if row.case == case]]
        if errors([own], OURS)
    ]
    return [
        Table("How far off, by percent", ("at", OURS, NAIVE), marks),
        Table("Each task", ("task", "seconds", OURS, NAIVE), tasks),
    ]


def draw(rows: Sequence[Row], figure: Figure) -> None:
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, name in ((left, OURS), (right, NAIVE)):
        for row in rows:
            if row.contestant == name:
                told_at = [mark for mark in _MARKS if f"error_at_{mark}" in row.values]
                signed = [100 * row.values[f"error_at_{mark}"] for mark in told_at]
                axes.plot(told_at, signed, color="C0" if name == OURS else "C1", alpha=0.35, linewidth=1, marker=".")
        axes.axhspan(-100 * _GOAL, 100 * _GOAL, color="0.9")
        axes.set_ylim(-60, 120)
        axes.set_title(name, fontsize=9)
        axes.set_xlabel("percent shown")
    left.set_ylabel("end foretold too late, % of the task's duration")


BENCHMARK = Benchmark(
    name="remaining",
    title="Remaining time",
    about="""
Clusters with small strings, with big collections and with both are scaled between three and six shards, out and in,
without clients, with clients, and with clients that come and go in mid-task. When a task first shows 10, 25, 50, 75
and 90 percent, its record stores the estimated end in fractions of a second (the contract's `remain_time` is the same
in whole seconds, rounded up). The error of an estimate is a share of the task's whole duration. The peer is computed
at the same moments from the percent alone: elapsed time x (100 - percent) / percent.
""",
    measure=measure,
    summary=summary,
    findings=findings,
    tables=tables,
    draw=draw,
)
