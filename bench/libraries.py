"""Errors and lost writes that client libraries see over many scales, in every migration mode."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import msgspec
from matplotlib.figure import Figure

from bench.client_libraries.messages import ClientReport, ClientSpec
from bench.client_libraries.moments import Change, described
from bench.client_libraries.process import PYTHON_LIBRARIES, LibraryClient
from bench.cluster import BenchCluster
from bench.content import Content, load
from bench.nodes import members
from bench.results import Benchmark, Effort, Finding, Row, Summary, Table, cases, contestants, formatted, spread, values
from cachewright.cli.demo.cloud import Size
from cachewright.cli.demo.latency import percentile

_FEW, _MANY = 3, 5
_COPIES = 2
_MEGABYTES = 10
_RUNS: dict[Effort, dict[str, tuple[int, int]]] = {
    "quick": {"fastest": (1, 1), "balanced": (1, 1), "gentle": (1, 1)},
    "full": {"fastest": (4, 6), "balanced": (4, 6), "gentle": (2, 1)},
}
"""For each mode the number of runs, and the number of scales out and in again in each run. A scale in the mode `gentle`
takes half a minute, even with little data."""


def measure(effort: Effort) -> Iterator[Row]:
    """In each run the libraries start, the cluster is scaled out and in several times, and the libraries end."""
    with BenchCluster() as cluster:
        instance_id = cluster.create(Size(_FEW, 1, _COPIES))
        seed = cluster.seed(instance_id)
        load(*members(seed), Content.SMALL, _MEGABYTES, seed.password or "")
        for mode, (runs, repetitions) in _RUNS[effort].items():
            for turn in range(runs):
                yield from _scaled(cluster, instance_id, mode, turn, repetitions)
        cluster.delete(instance_id)


def _scaled(cluster: BenchCluster, instance_id: str, mode: str, turn: int, repetitions: int) -> Iterator[Row]:
    seed = cluster.seed(instance_id)
    with ExitStack() as stack:
        clients = [
            stack.enter_context(
                LibraryClient(ClientSpec(library=library, host=seed.host, port=seed.port, password=seed.password))
            )
            for library in PYTHON_LIBRARIES
        ]
        changes = [
            Change(name=f"scale-{way}", progress=cluster.resize(instance_id, Size(shards, 1, _COPIES), mode).progress)
            for way, shards in (("out", _MANY), ("in", _FEW)) * repetitions
        ]
        for client in clients:
            yield _row(mode, turn, client.stop(), changes)


def _row(mode: str, turn: int, report: ClientReport, changes: Sequence[Change]) -> Row:
    took_ms = sorted(seconds * 1000 for seconds in report.took)
    return Row(
        case=mode,
        contestant=f"{report.library} {report.version}",
        round=turn,
        values={
            "scales": float(len(changes)),
            "requests": float(len(report.took)),
            "acknowledged": float(report.acknowledged),
            "errors": float(len(report.errors)),
            "lost": float(len(report.lost)),
            "p99_ms": percentile(took_ms, 0.99),
            "longest_ms": percentile(took_ms, 1),
        },
        notes=tuple(described(report, changes)),
    )


class _Count(msgspec.Struct, frozen=True):
    scales: int
    errors: int
    lost: int


def _counted(rows: Sequence[Row]) -> _Count:
    scales = {(row.case, row.round): row.values["scales"] for row in rows}
    return _Count(
        *(int(_sum(rows, metric)) if metric else int(sum(scales.values())) for metric in ("", "errors", "lost"))
    )


def _sum(rows: Sequence[Row], metric: str) -> float:
    return sum(row.values[metric] for row in rows)


def findings(rows: Sequence[Row]) -> list[Finding]:
    found = []
    for mode in cases(rows):
        own = [row for row in rows if row.case == mode]
        count = _counted(own)
        for what, number in (("errors", count.errors), ("lost writes", count.lost)):
            subject = f"mode {mode}, {count.scales} scales: {what} of all libraries"
            found.append(Finding(what=subject, figure=spread([number]), unit="", goal="0", met=number == 0))
    return found


def summary(rows: Sequence[Row]) -> Summary:
    count = _counted(rows)
    libraries = ", ".join(dict.fromkeys(row.contestant for row in rows))
    wrong = sum(bool(row.notes) for row in rows)
    return Summary(
        "Errors and lost writes that client libraries see",
        libraries,
        f"{count.errors} errors and {count.lost} lost writes in {count.scales} scales under traffic, "
        f"{_sum(rows, 'requests'):,.0f} requests.",
        f"{wrong} runs with errors, each described below." if wrong else "Each library with its default retries.",
    )


def tables(rows: Sequence[Row]) -> list[Table]:
    lines = [
        (
            mode,
            name,
            *(f"{sum(values(rows, mode, name, metric)):,.0f}" for metric in ("requests", "errors", "lost")),
            *(formatted(spread(values(rows, mode, name, metric))) for metric in ("p99_ms", "longest_ms")),
        )
        for mode in cases(rows)
        for name in contestants(rows, mode)
    ]
    columns = ("mode", "library", "requests", "errors", "lost writes", "p99 ms", "longest ms")
    notes = [(row.case, note) for row in rows for note in row.notes]
    every = [Table("All figures", columns, lines)]
    return [*every, Table("Errors and lost writes", ("mode", "what"), notes)] if notes else every


def draw(rows: Sequence[Row], figure: Figure) -> None:
    axes = figure.subplots()
    labels = [(mode, name) for mode in cases(rows) for name in contestants(rows, mode)]
    for place, (mode, name) in enumerate(labels):
        for metric, marker in (("p99_ms", "o"), ("longest_ms", ">")):
            axes.plot(
                values(rows, mode, name, metric), [place] * len(values(rows, mode, name, metric)), marker, alpha=0.4
            )
    axes.set_yticks(range(len(labels)), [f"{name}, {mode}" for mode, name in labels], fontsize=7)
    axes.set_xscale("log")
    axes.set_xlabel("ms during a scale-out and a scale-in: o p99, ▷ longest")
    axes.invert_yaxis()


BENCHMARK = Benchmark(
    name="libraries",
    title="Client libraries during scales",
    about=f"""
Three client libraries with the default retries of their vendors send 300 requests a second each, half of them writes of
distinct values, while a cluster of {_FEW} shards with a replica each and {_MEGABYTES} MB is scaled to {_MANY} shards
and back again and again, in each migration mode. After each run every library reads back what it wrote. An error is
an exception that reaches the caller of a library.
""",
    measure=measure,
    summary=summary,
    findings=findings,
    tables=tables,
    draw=draw,
)
