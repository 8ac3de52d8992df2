"""Speed of the fastest migration mode: the data migration of a task, against bare migration of the same ranges."""

from collections.abc import Iterator, Sequence

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
from cachewright.cli.demo.cloud import Size

OURS, BARE = "Cachewright, fastest", "bare MIGRATESLOTS"
_FEW, _MANY = 3, 5
_WAYS = ("out", "in")
_GOAL = 0.95
_DATA_MIGRATION = "Data migration"


class Case(msgspec.Struct, frozen=True, kw_only=True):
    content: Content
    megabytes: int
    rounds: int

    @property
    def name(self) -> str:
        return f"{self.content}, {self.megabytes:,} MB"


_CASES: dict[Effort, tuple[Case, ...]] = {
    "quick": (Case(content=Content.SMALL, megabytes=10, rounds=1),),
    "full": (
        Case(content=Content.SMALL, megabytes=100, rounds=3),
        Case(content=Content.SMALL, megabytes=500, rounds=3),
        Case(content=Content.LARGE, megabytes=500, rounds=3),
        Case(content=Content.MIXED, megabytes=500, rounds=3),
        Case(content=Content.SMALL, megabytes=2000, rounds=1),
    ),
}


def measure(effort: Effort) -> Iterator[Row]:
    with BenchCluster() as cluster:
        for case in _CASES[effort]:
            yield from _case(cluster, case)


def _case(cluster: BenchCluster, case: Case) -> Iterator[Row]:
    shard_gb = 1 if case.megabytes <= 1000 else 2
    instance_id = cluster.create(Size(_FEW, shard_gb))
    with BareCluster(masters=_FEW, empty=_MANY - _FEW) as bare:
        seed = cluster.seed(instance_id)
        load(*members(seed), case.content, case.megabytes, seed.password or "")
        load(bare.nodes, bare.owned(), case.content, case.megabytes, "")
        for turn in range(case.rounds):
            bare.renew()
            for way, shards in zip(_WAYS, (_MANY, _FEW), strict=True):
                task = cluster.resize(instance_id, Size(shards, shard_gb), "fastest")
                yield _row(case, f"{OURS}, {way}", turn, task.step_seconds(_DATA_MIGRATION))
                yield _row(case, f"{BARE}, {way}", turn, bare.migrate(bare.plan(shards)))
    cluster.delete(instance_id)


def _row(case: Case, contestant: str, turn: int, seconds: float) -> Row:
    return Row(case=case.name, contestant=contestant, round=turn, values={"moving_seconds": seconds})


def findings(rows: Sequence[Row]) -> list[Finding]:
    return [
        compared_to_goal(
            f"{case}, scale-{way}: data migration, speed of bare",
            ratio(rows, case, "moving_seconds", f"{BARE}, {way}", f"{OURS}, {way}"),
            ">=",
            _GOAL,
        )
        for case in cases(rows)
        for way in _WAYS
    ]


def summary(rows: Sequence[Row]) -> Summary:
    found = findings(rows)
    speed = medians_between((finding.figure for finding in found), " times")
    missed = [finding.what for finding in found if not finding.met]
    return Summary(
        "Speed of the fastest migration mode, without clients",
        "bare `CLUSTER MIGRATESLOTS`",
        f"Data moves at {speed} the speed of bare migration.",
        f"Below {_GOAL:g}: {'; '.join(missed)}." if missed else "Nowhere below the goal.",
    )


def tables(rows: Sequence[Row]) -> list[Table]:
    lines = [
        (case, name, formatted(spread(values(rows, case, name, "moving_seconds"))))
        for case in cases(rows)
        for name in contestants(rows, case)
    ]
    return [Table("Seconds of the data migration", ("data", "who moves", "seconds"), lines)]


def draw(rows: Sequence[Row], figure: Figure) -> None:
    axes = figure.subplots()
    every = cases(rows)
    for place, (who, colour) in enumerate(((OURS, "C0"), (BARE, "C1"))):
        seconds = [spread(values(rows, case, f"{who}, out", "moving_seconds")).median for case in every]
        axes.barh([at + 0.4 * place for at in range(len(every))], seconds, 0.4, color=colour, label=who)
    axes.set_yticks([at + 0.2 for at in range(len(every))], every, fontsize=8)
    axes.set_xlabel("seconds of the data migration, scale-out")
    axes.invert_yaxis()
    axes.legend(fontsize=8)


BENCHMARK = Benchmark(
    name="fastest",
    title="Speed of the fastest mode",
    about=f"""
A cluster without clients is scaled from {_FEW} to {_MANY} shards and back in the migration mode *fastest*. Its data
migration, which is a step of the task, is compared with bare `CLUSTER MIGRATESLOTS` of the same ranges on a cluster
with the same data, all ranges of a source in one command, polled every 5 ms. Both take turns; the nodes that receive
data are new processes in both.
""",
    measure=measure,
    summary=summary,
    findings=findings,
    tables=tables,
    draw=draw,
)
