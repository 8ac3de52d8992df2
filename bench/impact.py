"""Latency of clients during a scale: by Cachewright, by bare migration, by valkey-cli; and without a scale."""

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import msgspec
from matplotlib.figure import Figure

from bench.cluster import BenchCluster
from bench.content import Content, load
from bench.nodes import BareCluster, members
from bench.results import (
    Benchmark,
    Effort,
    Finding,
    Row,
    Summary,
    Table,
    cases,
    compared_to_goal,
    contestants,
    formatted,
    medians_between,
    ratio,
    spread,
    values,
)
from bench.traffic import TrafficClients, TrafficSpec
from cachewright.cli.demo.cloud import Size
from cachewright.cli.demo.slot_client import Seed

OURS, AT_SPEED, CALM = "Cachewright", "Cachewright at priority speed", "Cachewright below a ceiling"
BARE, CLI, QUIET = "bare MIGRATESLOTS", "valkey-cli reshard", "no scale"
_FEW, _MANY = 3, 5
_QUIET_SECONDS = 3.0
_PIPELINE = 10
_GOAL_P99, _GOAL_LONGEST_MS = 2.0, 100.0
_COLOURS = {QUIET: "C7", OURS: "C0", AT_SPEED: "lightskyblue", CALM: "navy", BARE: "C1", CLI: "C2"}
_METRICS = ("per_second", "p50_ms", "p99_ms", "p999_ms", "longest_ms")


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """valkey-cli and the ceiling, which take most of a minute each, take part only in `slow_rounds`."""

    content: Content
    megabytes: int
    rounds: int
    slow_rounds: int = 0

    @property
    def name(self) -> str:
        return f"{self.content}, {self.megabytes:,} MB"


_CASES: dict[Effort, tuple[Case, ...]] = {
    "quick": (Case(content=Content.LARGE, megabytes=10, rounds=1),),
    "full": (
        Case(content=Content.SMALL, megabytes=300, rounds=3, slow_rounds=1),
        Case(content=Content.LARGE, megabytes=300, rounds=3, slow_rounds=1),
        Case(content=Content.MIXED, megabytes=300, rounds=3, slow_rounds=1),
    ),
}


def measure(effort: Effort) -> Iterator[Row]:
    with BenchCluster() as cluster:
        for case in _CASES[effort]:
            yield from _case(cluster, case)


def _case(cluster: BenchCluster, case: Case) -> Iterator[Row]:
    few, many = Size(_FEW, 1), Size(_MANY, 1)
    instance_id = cluster.create(few)
    with BareCluster(masters=_FEW, empty=_MANY - _FEW) as bare:
        seed = cluster.seed(instance_id)
        load(*members(seed), case.content, case.megabytes, seed.password or "")
        load(bare.nodes, bare.owned(), case.content, case.megabytes, "")

        def ours(turn: int, name: str, **control: Any) -> Iterator[Row]:
            for way, size in (("out", many), ("in", few)):

                def scaled(size: Size = size) -> tuple[float, float]:
                    return cluster.resize(instance_id, size, **control).on_monotonic_clock()

                yield Row(case=case.name, contestant=f"{name}, {way}", round=turn, values=_felt(seed, scaled))

        for turn in range(case.rounds):
            bare.renew()
            quiet = _felt(seed, lambda: _timed(lambda: time.sleep(_QUIET_SECONDS)))
            yield Row(case=case.name, contestant=QUIET, round=turn, values=quiet)
            yield from ours(turn, OURS)
            yield from ours(turn, AT_SPEED, priority="speed")
            for way, shards in (("out", _MANY), ("in", _FEW)):
                felt = _felt(bare.seed, partial(_timed, partial(bare.migrate, bare.plan(shards))))
                yield Row(case=case.name, contestant=f"{BARE}, {way}", round=turn, values=felt)
            if turn < case.slow_rounds:
                yield from ours(turn, CALM, latency_ceiling_ms=_GOAL_P99 * quiet["p99_ms"])
                felt = _felt(bare.seed, lambda: _timed(lambda: bare.reshard(bare.plan(_MANY), _PIPELINE)))
                yield Row(case=case.name, contestant=CLI, round=turn, values=felt)
                bare.migrate(bare.plan(_FEW))
    cluster.delete(instance_id)


def _felt(seed: Seed, act: Callable[[], tuple[float, float]]) -> dict[str, float]:
    """Latency of the clients between the begin and the end that `act` returns."""
    with TrafficClients(TrafficSpec(seed=seed)) as callers:
        begin, end = act()
        calls = callers.stop()
    felt = msgspec.to_builtins(calls.within(begin, end))
    return {**felt, "seconds": end - begin, "errors": float(calls.errors), "lost": float(calls.lost)}


def _timed(act: Callable[[], object]) -> tuple[float, float]:
    begin = time.monotonic()
    act()
    return begin, time.monotonic()


def summary(rows: Sequence[Row]) -> Summary:
    runs = [(case, name) for case in cases(rows) for name in contestants(rows, case)]

    def of(who: str, metric: str, unit: str) -> str:
        chosen = [(case, name) for case, name in runs if name.split(", ")[0] == who]
        return medians_between((spread(values(rows, case, name, metric)) for case, name in chosen), unit)

    def p99(who: str) -> str:
        chosen = [(case, name) for case, name in runs if name.split(", ")[0] == who]
        return medians_between((ratio(rows, case, "p99_ms", name, QUIET) for case, name in chosen), " times")

    ours = [row for row in rows if row.contestant.startswith(OURS)]
    wrong = sum(row.values["errors"] + row.values["lost"] for row in ours)
    return Summary(
        "Latency of four clients during a scale",
        "bare `CLUSTER MIGRATESLOTS`; `valkey-cli reshard`; no scale",
        f"Longest wait {of(OURS, 'longest_ms', ' ms')}; bare migration {of(BARE, 'longest_ms', ' ms')}. "
        f"Errors and lost writes: {wrong:.0f} in {len(ours)} scales.",
        f"p99 is {p99(OURS)} that without a scale (bare migration {p99(BARE)}; valkey-cli {p99(CLI)}, but for "
        f"{of(CLI, 'seconds', ' s')}). With a latency ceiling it is {p99(CALM)}, and the scale takes "
        f"{of(CALM, 'seconds', ' s')} instead of {of(OURS, 'seconds', ' s')}. At priority speed clients wait up to "
        f"{of(AT_SPEED, 'longest_ms', ' ms')}.",
    )


def findings(rows: Sequence[Row]) -> list[Finding]:
    """Compare with goals if clients are protected. At priority speed they are not."""
    found = []
    for case in cases(rows):
        for name in (name for name in contestants(rows, case) if name.startswith(OURS)):
            slower = ratio(rows, case, "p99_ms", name, QUIET)
            longest = spread(values(rows, case, name, "longest_ms"))
            wrong = spread(values(rows, case, name, "errors") + values(rows, case, name, "lost"))
            if name.startswith(AT_SPEED):
                found += [
                    Finding(what=f"{name}, {case}: p99, of that without a scale", figure=slower),
                    Finding(what=f"{name}, {case}: longest wait", figure=longest, unit="ms"),
                ]
            else:
                found += [
                    compared_to_goal(f"{name}, {case}: p99, of that without a scale", slower, "<=", _GOAL_P99),
                    compared_to_goal(f"{name}, {case}: longest wait", longest, "<", _GOAL_LONGEST_MS, "ms"),
                ]
            found.append(
                Finding(
                    what=f"{name}, {case}: errors and lost writes",
                    figure=wrong,
                    unit="",
                    goal="0",
                    met=wrong.high == 0,
                )
            )
    return found


def tables(rows: Sequence[Row]) -> list[Table]:
    return [
        Table(
            case,
            ("who scales", "seconds", "operations/s", "p50 ms", "p99 ms", "p99.9 ms", "longest ms", "errors"),
            [
                (
                    name,
                    *(
                        formatted(spread(values(rows, case, name, metric)))
                        for metric in ("seconds", *_METRICS, "errors")
                    ),
                )
                for name in contestants(rows, case)
            ],
        )
        for case in cases(rows)
    ]


def draw(rows: Sequence[Row], figure: Figure) -> None:
    every = cases(rows)
    for axes, case in zip(figure.subplots(1, len(every), squeeze=False)[0], every, strict=True):
        names = contestants(rows, case)
        for place, name in enumerate(names):
            colour = _COLOURS[name.split(", ")[0]]
            for metric, marker in (("p50_ms", "|"), ("p99_ms", "o"), ("p999_ms", "s"), ("longest_ms", ">")):
                axes.plot(spread(values(rows, case, name, metric)).median, place, marker, color=colour, markersize=6)
        axes.set_xscale("log")
        axes.set_yticks(range(len(names)), names if case == every[0] else [""] * len(names), fontsize=7)
        axes.invert_yaxis()
        axes.axvline(_GOAL_LONGEST_MS, color="0.7", linewidth=1)
        axes.set_title(case, fontsize=8)
        axes.set_xlabel("ms: | median, o p99, □ p99.9, ▷ longest", fontsize=7)
        axes.grid(axis="x", alpha=0.3)


BENCHMARK = Benchmark(
    name="impact",
    title="Latency of clients",
    about=f"""
Four clients send requests (INCR of a key of their own, then GET of it, over a connection to each node, following MOVED
and ASK) and pause 2 ms after each reply, while a cluster is scaled from {_FEW} to {_MANY} shards and back: by
Cachewright, which limits the latency of clients; by Cachewright at priority speed (`"priority": "speed"`); by
Cachewright with a ceiling of {_GOAL_P99:g} times the p99 without a scale (`"latency_ceiling_ms"`), for which it pauses
between batches; by bare `CLUSTER MIGRATESLOTS` of the same ranges; by `valkey-cli --cluster reshard` with pipeline
{_PIPELINE}, its default; and without a scale, for {_QUIET_SECONDS:g} seconds. Latencies are those between the begin and
the end of the scale, on a machine whose cores also run the nodes and the server. A reply that contradicts an
acknowledged write counts as a lost write.
""",
    measure=measure,
    summary=summary,
    findings=findings,
    tables=tables,
    draw=draw,
)
