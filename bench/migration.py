"""Time of a migration from outside, against the bare replication of the same data; and waits of clients meanwhile."""

import time
from collections.abc import Iterator, Sequence

import msgspec
from matplotlib.figure import Figure
from valkey.cluster import ValkeyCluster

from bench.cluster import PASSWORD, BenchCluster
from bench.outside import OutsideServer, Waits
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

OURS, BARE, QUIET = "Cachewright, full migration", "REPLICAOF of one valkey-server", "no migration"
_SHARDS = 3
_QUIET_SECONDS = 3.0
_KEYS_PER_SECOND = 10_000
"""Least speed of a copy that the page about migrations names, for small keys."""

_COLOURS = {OURS: "C0", BARE: "C1", QUIET: "C7"}
_METRICS = (
    "seconds",
    "keys_per_second",
    "source_p99_ms",
    "source_longest_ms",
    "instance_p99_ms",
    "instance_longest_ms",
)


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """:ivar size: bytes of each value."""

    keys: int
    size: int
    rounds: int

    @property
    def name(self) -> str:
        return f"{self.keys:,} keys of {self.size:,} bytes"


_CASES: dict[Effort, tuple[Case, ...]] = {
    "quick": (Case(keys=5000, size=200, rounds=1),),
    "full": (Case(keys=500_000, size=200, rounds=3), Case(keys=20_000, size=10_000, rounds=3)),
}


def measure(effort: Effort) -> Iterator[Row]:
    with BenchCluster("--migration-network", "127.0.0.0/8") as server:
        for case in _CASES[effort]:
            with OutsideServer() as source:
                source.fill(case.keys, case.size)
                for turn in range(case.rounds):
                    for contestant, measured in (
                        (QUIET, _quiet(source, case)),
                        (BARE, _bare(source, case)),
                        (OURS, _migrated(server, source, case)),
                    ):
                        yield Row(case=case.name, contestant=contestant, round=turn, values=measured)


def _quiet(source: OutsideServer, case: Case) -> dict[str, float]:
    with Waits(source.client, case.keys) as waits:
        time.sleep(_QUIET_SECONDS)
    return _of_source(waits)


def _bare(source: OutsideServer, case: Case) -> dict[str, float]:
    with OutsideServer() as replica, Waits(source.client, case.keys) as waits:
        seconds = replica.replicate(source)
    return {"seconds": seconds, "keys_per_second": case.keys / seconds, **_of_source(waits)}


def _migrated(server: BenchCluster, source: OutsideServer, case: Case) -> dict[str, float]:
    """From the request until the instance has every key."""
    made = server.create(Size(_SHARDS, 1))
    seed, known = server.seed(made), server.known(made)
    inside = ValkeyCluster(host=seed.host, port=seed.port, password=PASSWORD)
    body = {
        "task_name": "bench",
        "migration_type": "online_migration",
        "migration_method": "full_amount_migration",
        "source_instance": {"addrs": source.address},
        "target_instance": {"id": made},
    }
    with Waits(source.client, case.keys) as outside, Waits(inside, case.keys) as waits:
        server.api.ask("POST", "migration-task", body)
        seconds = server.ended(made, known).seconds
    found = inside.dbsize(target_nodes=ValkeyCluster.PRIMARIES)
    present = sum(found.values()) if isinstance(found, dict) else found
    if present != case.keys:
        raise RuntimeError(f"{present} of {case.keys} keys are in the instance")
    server.delete(made)
    return {
        "seconds": seconds,
        "keys_per_second": case.keys / seconds,
        **_of_source(outside),
        "instance_p99_ms": waits.p99_ms,
        "instance_longest_ms": waits.longest_ms,
    }


def _of_source(waits: Waits) -> dict[str, float]:
    return {"source_p99_ms": waits.p99_ms, "source_longest_ms": waits.longest_ms}


def summary(rows: Sequence[Row]) -> Summary:
    return Summary(
        "Time of a migration from outside into a cluster of three shards",
        "a plain replica that receives the same data",
        f"{medians_between(ratio(rows, case, 'seconds', OURS, BARE) for case in cases(rows))} times the time of that. "
        f"99 of 100 reads at the source wait {_compared(rows)} times as long as during a plain replication.",
        "Keys are copied to the nodes that own them after the source was replicated; small keys take longest. Of large "
        "values fewer than 10,000 are copied in a second.",
    )


def _compared(rows: Sequence[Row]) -> str:
    return medians_between(ratio(rows, case, "source_p99_ms", OURS, BARE) for case in cases(rows))


def findings(rows: Sequence[Row]) -> list[Finding]:
    found = []
    for case in cases(rows):
        for what, metric, peer in (
            ("time of a plain replication", "seconds", BARE),
            ("99 % of reads at the source, plain replication", "source_p99_ms", BARE),
            ("99 % of reads at the source, no migration", "source_p99_ms", QUIET),
        ):
            found.append(Finding(what=f"{case}: {what}", figure=ratio(rows, case, metric, OURS, peer)))
        longest = ratio(rows, case, "source_longest_ms", OURS, BARE)
        found.append(Finding(what=f"{case}: longest wait at the source, plain replication", figure=longest))
        speed = spread(values(rows, case, OURS, "keys_per_second"))
        found.append(compared_to_goal(f"{case}: keys per second", speed, ">=", _KEYS_PER_SECOND, "a second"))
    return found


def tables(rows: Sequence[Row]) -> list[Table]:
    lines = []
    for case in cases(rows):
        for name in contestants(rows, case):
            shown = [values_of(rows, case, name, metric) for metric in _METRICS]
            lines.append((case, name, *shown))
    columns = ("data", "how", "seconds", "keys per second", "source p99 ms", "longest", "instance p99 ms", "longest")
    return [Table("Time, and waits of clients", columns, lines)]


def values_of(rows: Sequence[Row], case: str, contestant: str, metric: str) -> str:
    chosen = [row for row in rows if metric in row.values]
    found = values(chosen, case, contestant, metric)
    return formatted(spread(found)) if found else ""


def draw(rows: Sequence[Row], figure: Figure) -> None:
    left, right = figure.subplots(1, 2)
    every = cases(rows)
    for axes, metric, label, names in (
        (left, "seconds", "seconds", (BARE, OURS)),
        (right, "source_p99_ms", "ms that 99 of 100 reads at the source wait", (QUIET, BARE, OURS)),
    ):
        for place, name in enumerate(names):
            heights = [spread(values(rows, case, name, metric)).median for case in every]
            positions = [at + 0.27 * place for at in range(len(every))]
            axes.bar(positions, heights, 0.25, label=name, color=_COLOURS[name])
        axes.set_xticks([at + 0.27 for at in range(len(every))], every, fontsize=7)
        axes.set_ylabel(label)
        axes.legend(fontsize=7)


BENCHMARK = Benchmark(
    name="migration",
    title="Migration from outside",
    about="""
A plain valkey-server outside is copied once into a new cluster of three shards
([migration](migration.md), from the request to the end of its task), while one client reads at the source and another
one in the instance. The peer is one more plain valkey-server that becomes a replica of the same source: the
least that moving the data takes on this machine. Both fork the source once. A migration replicates the source as its
peer does, and then copies each key to the node that owns it. The goal is the least number of keys a second that
[its page](migration.md) names for small keys; large ones are measured against it too. It was set when the figures of
the first full run were known.
""",
    measure=measure,
    summary=summary,
    findings=findings,
    tables=tables,
    draw=draw,
)
