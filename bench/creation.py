"""Time to create a cluster: by Cachewright, by valkey-cli, and the time for which Valkey holds back a primary."""

import time
from collections.abc import Iterator, Sequence

import msgspec
from matplotlib.figure import Figure

from bench.cluster import PASSWORD, BenchCluster
from bench.nodes import BareCluster
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

OURS, CLI, HOLD = "Cachewright", "valkey-cli --cluster create", "one node, started as the master of all slots"
_GOAL_OF_HOLD = 1.1
_COMPARED = "3 masters, 1 replica each"


class Case(msgspec.Struct, frozen=True, kw_only=True):
    masters: int
    replicas: int
    rounds: int

    @property
    def name(self) -> str:
        return f"{self.masters} masters, {self.replicas} replica{'s' * (self.replicas != 1)} each"


_CASES: dict[Effort, tuple[Case, ...]] = {
    "quick": (Case(masters=3, replicas=0, rounds=1),),
    "full": (
        Case(masters=3, replicas=0, rounds=5),
        Case(masters=3, replicas=1, rounds=5),
        Case(masters=16, replicas=1, rounds=3),
    ),
}


def measure(effort: Effort) -> Iterator[Row]:
    with BenchCluster() as server:
        for case in _CASES[effort]:
            for turn in range(case.rounds):
                for contestant, seconds in (
                    (OURS, _rented(server, case)),
                    (CLI, _by_hand(case)),
                    (HOLD, _held()),
                ):
                    yield Row(case=case.name, contestant=contestant, round=turn, values={"seconds": seconds})


def _rented(server: BenchCluster, case: Case) -> float:
    """Seconds from the request to the end of its task."""
    begun = time.time()
    made = server.cloud.create("bench", Size(case.masters, 1, copies=case.replicas + 1), PASSWORD)
    ended = server.ended(made, frozenset()).ended
    server.delete(made)
    return ended - begun


def _by_hand(case: Case) -> float:
    """Seconds from the start of the first process until every node finds the cluster ok, with linked replicas."""
    begun = time.perf_counter()
    every = case.masters * (1 + case.replicas)
    with BareCluster(masters=every, formed=False) as bare:
        addresses = [f"{node.host}:{node.port}" for node in bare.nodes]
        bare.cli("--cluster", "create", *addresses, "--cluster-replicas", str(case.replicas), "--cluster-yes")
        bare.settle()
        return time.perf_counter() - begun


def _held() -> float:
    begun = time.perf_counter()
    with BareCluster(masters=1):
        return time.perf_counter() - begun


def summary(rows: Sequence[Row]) -> Summary:
    largest = cases(rows)[-1]
    return Summary(
        "Time to create a cluster until every node is ok",
        "starting the same nodes and `valkey-cli --cluster create`",
        f"{medians_between(ratio(rows, case, 'seconds', OURS, CLI) for case in cases(rows))} times the time of that. "
        f"{largest}: {formatted(spread(values(rows, largest, OURS, 'seconds')), ' s')}.",
        "Nowhere in the sizes measured.",
    )


def findings(rows: Sequence[Row]) -> list[Finding]:
    found = [
        Finding(
            what=f"{case}: time of valkey-cli",
            figure=ratio(rows, case, "seconds", OURS, CLI),
        )
        for case in cases(rows)
    ]
    if _COMPARED in cases(rows):
        held = ratio(rows, _COMPARED, "seconds", OURS, HOLD)
        found.append(
            compared_to_goal(f"{_COMPARED}: time of one node that Valkey holds back", held, "<=", _GOAL_OF_HOLD)
        )
    return found


def tables(rows: Sequence[Row]) -> list[Table]:
    lines = [
        (case, name, formatted(spread(values(rows, case, name, "seconds"))))
        for case in cases(rows)
        for name in contestants(rows, case)
    ]
    return [Table("Seconds until every node is ok", ("cluster", "how", "seconds"), lines)]


def draw(rows: Sequence[Row], figure: Figure) -> None:
    axes = figure.subplots()
    every = cases(rows)
    for place, name in enumerate((OURS, CLI, HOLD)):
        seconds = [spread(values(rows, case, name, "seconds")) for case in every]
        positions = [at + 0.27 * place for at in range(len(every))]
        medians = [each.median for each in seconds]
        reach = [[each.median - each.low for each in seconds], [each.high - each.median for each in seconds]]
        axes.bar(positions, medians, 0.25, yerr=reach, label=name, color=f"C{place}", capsize=3)
    axes.set_xticks([at + 0.27 for at in range(len(every))], every)
    axes.set_ylabel("seconds until every node is ok")
    axes.legend(fontsize=8)


BENCHMARK = Benchmark(
    name="creation",
    title="Creation",
    about="""
From the request (`CreateInstance` by the cloud's client) to the end of the task, when every node finds the cluster
ok, knows all others, and replicas follow their masters; against starting as many processes with the same
configuration, running `valkey-cli --cluster create`, and waiting for the same. Valkey holds a freshly started master
back for two seconds before it turns ok: what that takes is measured beside it, with one node that owns all slots.
Cachewright's new masters are not held back ([decision 16](decisions/0016-primaries-start-behind-a-placeholder.md)).
""",
    measure=measure,
    summary=summary,
    findings=findings,
    tables=tables,
    draw=draw,
)
