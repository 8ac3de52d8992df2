"""Latency of clients during a scale: in each mode, by bare migration, by valkey-cli; and without a scale."""

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import msgspec
from matplotlib.figure import Figure

from bench.client_libraries.moments import Change, moment
from bench.cluster import BenchCluster, Ended
from bench.content import Content, load
from bench.impact_goals import BALANCED, BARE, FASTEST, FORKS, GENTLE, METRICS, MODES, QUIET, cli, findings, ours
from bench.nodes import BareCluster, client_of, members, until
from bench.results import (
    Benchmark,
    Effort,
    Row,
    Summary,
    Table,
    cases,
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

_FEW, _MANY = 3, 5
_QUIET_SECONDS = 3.0
_FORKS, _FORK_PAUSE_SECONDS = 20, 0.1
_COLOURS = {
    QUIET: "C7",
    BALANCED: "C0",
    FASTEST: "lightskyblue",
    GENTLE: "navy",
    BARE: "C1",
    FORKS: "C5",
    cli(1000): "C2",
    cli(10): "C3",
}


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """A data set, and the number of rounds in which each contestant takes part, from the first one on.

    Scales in the mode `gentle` and by valkey-cli take most of a minute each with small values, so they take part in few
    rounds. Contestants without a comparison have no rounds.
    """

    content: Content
    megabytes: int
    balanced: int = 3
    fastest: int = 1
    gentle: int = 0
    forks: int = 0
    bare: int = 0
    pipelines: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.content}, {self.megabytes:,} MB"

    def modes(self, turn: int) -> list[str]:
        rounds = zip(MODES, (self.fastest, self.balanced, self.gentle), strict=True)
        return [mode for mode, count in rounds if turn < count]


_CASES: dict[Effort, tuple[Case, ...]] = {
    "quick": (
        Case(content=Content.SMALL, megabytes=5, balanced=1, gentle=1, bare=1),
        Case(content=Content.GIANT, megabytes=5, balanced=1, fastest=0, forks=1),
    ),
    "full": (
        Case(content=Content.SMALL, megabytes=300, gentle=1, bare=1, pipelines=(1000, 10)),
        Case(content=Content.LARGE, megabytes=300, bare=1, pipelines=(1000,)),
        Case(content=Content.MIXED, megabytes=300, gentle=1, bare=1, pipelines=(1000, 10)),
        Case(content=Content.GIANT, megabytes=100, forks=3, bare=3),
        Case(content=Content.SMALL, megabytes=2000, balanced=2, forks=2, bare=1),
    ),
}


def measure(effort: Effort) -> Iterator[Row]:
    with BenchCluster() as cluster:
        for case in _CASES[effort]:
            yield from _case(cluster, case)


def _case(cluster: BenchCluster, case: Case) -> Iterator[Row]:
    shard_gb = 1 if case.megabytes <= 1000 else 2
    instance_id = cluster.create(Size(_FEW, shard_gb))
    seed = cluster.seed(instance_id)
    load(*members(seed), case.content, case.megabytes, seed.password or "")
    for turn in range(case.balanced):
        yield _row(case, QUIET, turn, _felt(seed, lambda: _timed(lambda: time.sleep(_QUIET_SECONDS))))
        for mode in case.modes(turn):
            for way, shards in (("out", _MANY), ("in", _FEW)):
                scale = partial(cluster.resize, instance_id, Size(shards, shard_gb), mode)
                yield _row(case, ours(mode, way), turn, _felt(seed, partial(_task, f"scale-{way}", scale)))
    if case.bare or case.forks:
        with BareCluster(masters=_FEW, empty=_MANY - _FEW) as bare:
            load(bare.nodes, bare.owned(), case.content, case.megabytes, "")
            yield from _peers(case, bare)
    cluster.delete(instance_id)


def _peers(case: Case, bare: BareCluster) -> Iterator[Row]:
    for turn in range(case.forks):
        yield _row(case, FORKS, turn, _felt(bare.seed, partial(_timed, partial(_fork, bare))))
    for turn in range(case.bare):
        bare.renew()
        for way, shards in (("out", _MANY), ("in", _FEW)):
            felt = _felt(bare.seed, partial(_timed, partial(bare.migrate, bare.plan(shards))))
            yield _row(case, f"{BARE}, {way}", turn, felt)
        for pipeline in case.pipelines:
            bare.renew()
            felt = _felt(bare.seed, partial(_timed, partial(bare.reshard, bare.plan(_MANY), pipeline)))
            yield _row(case, cli(pipeline), turn, felt)
            bare.migrate(bare.plan(_FEW))


def _fork(cluster: BareCluster) -> None:
    """Make each node with data fork as for a snapshot, one node after another, and end the child immediately."""
    owned = cluster.owned()
    for node in cluster.nodes:
        if owned.get(node.id):
            with client_of(node) as client:
                for _ in range(_FORKS):
                    client.execute_command("BGSAVE")
                    client.execute_command("BGSAVE", "CANCEL")
                    until(lambda: not client.info("persistence")["rdb_bgsave_in_progress"])
                    time.sleep(_FORK_PAUSE_SECONDS)


class _Felt(msgspec.Struct, frozen=True):
    values: dict[str, float]
    notes: tuple[str, ...]


_Acted = tuple[float, float, tuple[Change, ...]]
"""Begin and end on the monotonic clock, and the tasks that ran."""


def _felt(seed: Seed, act: Callable[[], _Acted]) -> _Felt:
    """Latency of the clients between the begin and the end that `act` returns."""
    with TrafficClients(TrafficSpec(seed=seed)) as callers:
        begin, end, changes = act()
        calls = callers.stop()
    since = time.time() - time.monotonic()
    notes = [f"{failure.message}; {moment(failure.at + since, changes)}" for failure in (*calls.errors, *calls.lost)]
    felt = msgspec.to_builtins(calls.within(begin, end))
    counts = {"errors": float(len(calls.errors)), "lost": float(len(calls.lost))}
    return _Felt({**felt, "seconds": end - begin, **counts}, tuple(notes))


def _task(name: str, scale: Callable[[], Ended]) -> _Acted:
    ended = scale()
    return (*ended.on_monotonic_clock(), (Change(name=name, progress=ended.progress),))


def _timed(act: Callable[[], object]) -> _Acted:
    begin = time.monotonic()
    act()
    return begin, time.monotonic(), ()


def _row(case: Case, contestant: str, turn: int, felt: _Felt) -> Row:
    return Row(case=case.name, contestant=contestant, round=turn, values=felt.values, notes=felt.notes)


def summary(rows: Sequence[Row]) -> Summary:
    runs = [(case, name) for case in cases(rows) for name in contestants(rows, case)]

    def of(who: str, metric: str, unit: str) -> str:
        chosen = [(case, name) for case, name in runs if name.startswith(who)]
        return medians_between((spread(values(rows, case, name, metric)) for case, name in chosen), unit)

    def p99(who: str) -> str:
        chosen = [(case, name) for case, name in runs if name.startswith(who)]
        return medians_between((ratio(rows, case, "p99_ms", name, QUIET) for case, name in chosen), " times")

    own = [row for row in rows if row.contestant.startswith("Cachewright")]
    wrong = sum(row.values["errors"] + row.values["lost"] for row in own)
    return Summary(
        "Latency of four clients during a scale",
        "bare `CLUSTER MIGRATESLOTS`; `valkey-cli reshard`; no scale",
        f"Longest wait in the default mode {of(BALANCED, 'longest_ms', ' ms')}, in gentle mode "
        f"{of(GENTLE, 'longest_ms', ' ms')}; bare migration {of(BARE, 'longest_ms', ' ms')}, valkey-cli "
        f"{of('valkey-cli', 'longest_ms', ' ms')}. Errors and lost writes: {wrong:.0f} in {len(own)} scales.",
        f"p99 in the default mode is {p99(BALANCED)} that without a scale, in gentle mode {p99(GENTLE)} (bare "
        f"migration {p99(BARE)}; valkey-cli {p99('valkey-cli')}). A scale takes {of(BALANCED, 'seconds', ' s')} by "
        f"default, {of(GENTLE, 'seconds', ' s')} in gentle mode. In fastest mode clients wait up to "
        f"{of(FASTEST, 'longest_ms', ' ms')}.",
    )


def tables(rows: Sequence[Row]) -> list[Table]:
    headings = ("p50 ms", "p99 ms", "p99.9 ms", "longest read ms", "longest write ms", "over 10 ms, %")
    figures = [
        Table(
            case,
            ("who scales", "seconds", "operations/s", *headings, "errors"),
            [
                (name, *(formatted(spread(values(rows, case, name, metric))) for metric in METRICS))
                for name in contestants(rows, case)
            ],
        )
        for case in cases(rows)
    ]
    notes = [(row.case, row.contestant, note) for row in rows for note in row.notes]
    return [*figures, Table("Errors and lost writes", ("data", "who scales", "what"), notes)] if notes else figures


def draw(rows: Sequence[Row], figure: Figure) -> None:
    every = cases(rows)
    for axes, case in zip(figure.subplots(1, len(every), squeeze=False)[0], every, strict=True):
        names = contestants(rows, case)
        for place, name in enumerate(names):
            colour = _COLOURS[name.removesuffix(", out").removesuffix(", in")]
            for metric, marker in (("p50_ms", "|"), ("p99_ms", "o"), ("p999_ms", "s"), ("longest_ms", ">")):
                axes.plot(spread(values(rows, case, name, metric)).median, place, marker, color=colour, markersize=6)
        axes.set_xscale("log")
        axes.set_yticks(range(len(names)), names, fontsize=5)
        axes.invert_yaxis()
        axes.set_title(case, fontsize=7)
        axes.set_xlabel("ms: | median, o p99, □ p99.9, ▷ longest", fontsize=6)
        axes.grid(axis="x", alpha=0.3)


BENCHMARK = Benchmark(
    name="impact",
    title="Latency of clients",
    about=f"""
Four clients send requests (INCR of a key of their own, then GET of it, following MOVED and ASK) and pause 2 ms after
each reply, while a cluster is scaled from {_FEW} to {_MANY} shards and back: by Cachewright in its three migration
modes; by bare `CLUSTER MIGRATESLOTS` of the same ranges; by `valkey-cli --cluster reshard` with pipelines of 1000 and
of 10, its default; and without a scale, for {_QUIET_SECONDS:g} seconds. *Forks without a scale*: each node with data
forks {_FORKS} times, as it must for each batch of an atomic migration, and the child ends immediately, so that the
longest wait is that of the forks alone. *A giant key* is a hash of 2,000,000 fields
among small strings. Latencies are those between the begin and the end of the scale, on a machine whose cores also run
the nodes and the server. A reply that contradicts an acknowledged write counts as a lost write. Contestants of one case
are measured in one run; cases may be of several runs.
""",
    measure=measure,
    summary=summary,
    findings=findings,
    tables=tables,
    draw=draw,
)
