"""Duration of a scale: Cachewright's whole task, against commands that move the same slots."""

import itertools
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import msgspec
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from bench.cluster import BenchCluster, Ended
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
from bench.traffic import TrafficClients, TrafficSpec, messages
from cachewright.cli.demo.cloud import Size

OURS, AT_SPEED, BARE = "Cachewright", "Cachewright in mode fastest", "bare MIGRATESLOTS"
_FEW, _MANY = 3, 5
_LARGEST_PIPELINE = 1000
_GOAL_OF_BARE, _GOAL_OF_CLI = 0.95, 8.0


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """valkey-cli's reshard takes part with each of `pipelines`, and its rebalance if `rebalanced`. Both take half a
    minute or more, so they take part only in `cli_rounds`."""

    content: Content
    megabytes: int
    rounds: int
    traffic: bool = False
    pipelines: tuple[int, ...] = ()
    cli_rounds: int = 0
    rebalanced: bool = False

    @property
    def name(self) -> str:
        return f"{self.content}, {self.megabytes:,} MB{', with traffic' if self.traffic else ''}"


_CASES: dict[Effort, tuple[Case, ...]] = {
    "quick": (Case(content=Content.SMALL, megabytes=10, rounds=1),),
    "full": (
        Case(content=Content.SMALL, megabytes=10, rounds=5),
        Case(content=Content.SMALL, megabytes=100, rounds=3, pipelines=(10, 100, 1000), cli_rounds=2, rebalanced=True),
        Case(content=Content.SMALL, megabytes=500, rounds=3, pipelines=(1000,), cli_rounds=1),
        Case(content=Content.SMALL, megabytes=2000, rounds=3),
        Case(content=Content.LARGE, megabytes=500, rounds=3, pipelines=(1000,), cli_rounds=1),
        Case(content=Content.MIXED, megabytes=500, rounds=3, pipelines=(1000,), cli_rounds=1),
        Case(content=Content.SMALL, megabytes=300, rounds=3, pipelines=(1000,), cli_rounds=1, traffic=True),
        Case(content=Content.MIXED, megabytes=300, rounds=3, traffic=True),
    ),
}


def measure(effort: Effort) -> Iterator[Row]:
    with BenchCluster() as cluster:
        for case in _CASES[effort]:
            yield from _case(cluster, case)


def _case(cluster: BenchCluster, case: Case) -> Iterator[Row]:
    shard_gb = 1 if case.megabytes <= 1000 else 2
    few, many = Size(_FEW, shard_gb), Size(_MANY, shard_gb)
    instance_id = cluster.create(few)
    with BareCluster(masters=_FEW, empty=_MANY - _FEW) as bare:
        seed = cluster.seed(instance_id)
        load(*members(seed), case.content, case.megabytes, seed.password or "")
        load(bare.nodes, bare.owned(), case.content, case.megabytes, "")
        for turn in range(case.rounds):
            bare.renew()
            directions = (("out", many), ("in", few))
            for name, size in directions:
                with _traffic(case, TrafficSpec(seed=seed)):
                    task = cluster.resize(instance_id, size)
                yield _scaled(case, f"{OURS}, {name}", turn, task)
                with _traffic(case, TrafficSpec(seed=bare.seed)):
                    seconds = bare.migrate(bare.plan(size.shards))
                yield _moved(case, f"{BARE}, {name}", turn, seconds)
            for name, size in directions if case.traffic else ():
                with _traffic(case, TrafficSpec(seed=seed)):
                    task = cluster.resize(instance_id, size, mode="fastest")
                yield _scaled(case, f"{AT_SPEED}, {name}", turn, task)
            for pipeline in case.pipelines if turn < case.cli_rounds else ():
                with _traffic(case, TrafficSpec(seed=bare.seed)):
                    seconds = bare.reshard(bare.plan(_MANY), pipeline)
                yield _moved(case, cli("reshard", pipeline), turn, seconds)
                bare.migrate(bare.plan(_FEW))
            if case.rebalanced and turn < case.cli_rounds:
                seconds = bare.rebalance(_LARGEST_PIPELINE)
                yield _moved(case, cli("rebalance", _LARGEST_PIPELINE), turn, seconds)
                bare.migrate(bare.plan(_FEW))
    cluster.delete(instance_id)


@contextmanager
def _traffic(case: Case, orders: TrafficSpec) -> Iterator[None]:
    with ExitStack() as stack:
        callers = stack.enter_context(TrafficClients(orders)) if case.traffic else None
        yield
        if callers:
            calls = callers.stop()
            if calls.errors or calls.lost:
                raise RuntimeError(f"errors or lost writes: {messages([*calls.errors, *calls.lost])}")


def cli(command: str, pipeline: int) -> str:
    return f"valkey-cli {command}, pipeline {pipeline}"


def _scaled(case: Case, contestant: str, turn: int, task: Ended) -> Row:
    moving = task.step_seconds("Data migration")
    return _row(case, contestant, turn, seconds=task.seconds, moving_seconds=moving)


def _moved(case: Case, contestant: str, turn: int, seconds: float) -> Row:
    """Row of a contestant that only moves slots."""
    return _row(case, contestant, turn, seconds=seconds, moving_seconds=seconds)


def _row(case: Case, contestant: str, turn: int, **measured: float) -> Row:
    return Row(case=case.name, contestant=contestant, round=turn, values=measured)


def summary(rows: Sequence[Row]) -> Summary:
    quiet = [case for case in cases(rows) if not _has_traffic(case)]
    busy = [case for case in cases(rows) if _has_traffic(case)]

    def of_bare(chosen: Sequence[str], metric: str, how: str = OURS) -> str:
        ways = itertools.product(chosen, ("out", "in"))
        return medians_between(ratio(rows, case, metric, f"{BARE}, {way}", f"{how}, {way}") for case, way in ways)

    clis = [(case, peer) for case in cases(rows) for peer in contestants(rows, case) if peer.startswith("valkey-cli")]
    faster = medians_between(ratio(rows, case, "seconds", peer, f"{OURS}, out") for case, peer in clis)
    return Summary(
        "Time to scale 3 shards to 5 and back",
        "`valkey-cli` (reshard, rebalance); bare `CLUSTER MIGRATESLOTS` between nodes that run already",
        f"{faster} times as fast as valkey-cli. Without clients, slots move at {of_bare(quiet, 'moving_seconds')} "
        "times the speed of bare migration.",
        f"The whole task, which also starts and ends nodes: without clients {of_bare(quiet, 'seconds')} times the "
        "speed of bare migration, least with little data. With clients, which bare migration does not protect: "
        f"{of_bare(busy, 'seconds')} times, and {of_bare(busy, 'seconds', AT_SPEED)} times in mode fastest.",
    )


def findings(rows: Sequence[Row]) -> list[Finding]:
    """Compare with bare migration if both treat clients alike: without clients, and in mode fastest."""
    found = []
    for case in cases(rows):
        there = contestants(rows, case)
        for name, how in itertools.product(("out", "in"), (OURS, AT_SPEED)):
            if f"{how}, {name}" not in there:
                continue
            at_speed = " in mode fastest" if how == AT_SPEED else ""
            for metric, what in (("seconds", "whole task"), ("moving_seconds", "its data migration")):
                share = ratio(rows, case, metric, f"{BARE}, {name}", f"{how}, {name}")
                subject = f"scale-{name}{at_speed}, {case}: {what}, speed of bare"
                if how == OURS and _has_traffic(case):
                    found.append(Finding(what=f"{subject}, which does not protect clients", figure=share))
                else:
                    found.append(compared_to_goal(subject, share, ">=", _GOAL_OF_BARE))
        for peer in there:
            if peer.startswith("valkey-cli"):
                faster = ratio(rows, case, "seconds", peer, f"{OURS}, out")
                found.append(compared_to_goal(f"scale-out, {case}: speed of {peer}", faster, ">=", _GOAL_OF_CLI))
    return found


def _has_traffic(case: str) -> bool:
    return "with traffic" in case


def tables(rows: Sequence[Row]) -> list[Table]:
    lines = [
        (case, name, *(formatted(spread(values(rows, case, name, metric))) for metric in ("seconds", "moving_seconds")))
        for case in cases(rows)
        for name in contestants(rows, case)
    ]
    return [Table("Seconds", ("data", "how", "all of it", "moving alone"), lines)]


def draw(rows: Sequence[Row], figure: Figure) -> None:
    left, right = figure.subplots(1, 2)
    every = cases(rows)
    for at, case in enumerate(every):
        shown = {f"{OURS}, out": "C0", f"{AT_SPEED}, out": "C9", f"{BARE}, out": "C1"}
        names = [name for name in contestants(rows, case) if name in shown or name.startswith("valkey")]
        for place, name in enumerate(names):
            seconds = spread(values(rows, case, name, "seconds")).median
            colour = shown.get(name, "C2")
            left.barh(at + 0.8 * place / len(names), seconds, 0.8 / len(names), color=colour)
    left.set_yticks([at + 0.3 for at in range(len(every))], every, fontsize=7)
    left.set_xscale("log")
    left.set_xlabel("seconds of a scale-out")
    labels = {"C0": OURS, "C9": AT_SPEED, "C1": BARE, "C2": "valkey-cli"}
    left.legend(handles=[Patch(color=colour, label=label) for colour, label in labels.items()], fontsize=7)
    left.invert_yaxis()
    growth = [case for case in every if case.startswith(Content.SMALL) and "traffic" not in case]
    sizes = [int(case.split(", ")[1].removesuffix(" MB").replace(",", "")) for case in growth]
    for place, name in enumerate((OURS, BARE)):
        medians = [spread(values(rows, case, f"{name}, out", "seconds")).median for case in growth]
        right.plot(sizes, medians, marker="o", color=f"C{place}", label=name)
    right.set_xscale("log")
    right.set_yscale("log")
    right.set_xlabel("MB in the cluster, small strings")
    right.set_ylabel("seconds")
    right.legend(fontsize=8)


BENCHMARK = Benchmark(
    name="scaling",
    title="Scaling speed",
    about=f"""
A cluster is scaled from {_FEW} to {_MANY} shards and back. Cachewright's figure is its whole task, from the request to
the end: checks, start and join of two new nodes, migration of slots, checks; on the way back, two nodes are drained and
ended. The peers start with nodes that have joined, and only move slots: bare `CLUSTER MIGRATESLOTS` of the same ranges,
all ranges of a source in one command, polled every 5 ms; and `valkey-cli --cluster reshard` of as many slots between
the same nodes, with pipelines of 10, 100 and 1000, or its `rebalance` over all nodes. All contestants use the same
data, configuration and append-only files, and the processes of bare migration are as new as Cachewright's.

*With traffic*: four clients that each write and read every 2 ms. A run in which a client gets an error or loses a write
ends the benchmark. Cachewright limits the latency of clients, except in the migration mode *fastest*. Both are
measured. Bare migration limits nothing, so a goal beside it is set only for mode fastest.
""",
    measure=measure,
    summary=summary,
    findings=findings,
    tables=tables,
    draw=draw,
)
