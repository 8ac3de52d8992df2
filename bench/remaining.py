"""Accuracy of the estimated end of a task, of its percent and of its plan, against estimates from the percent alone."""

from collections import Counter
from collections.abc import Iterator
from itertools import count

from bench.cluster import BenchCluster
from bench.content import load
from bench.nodes import members
from bench.remaining_cases import INSTALLATIONS, Series
from bench.remaining_metrics import own_values, rival_values
from bench.remaining_report import OURS, draw, findings, summary, tables
from bench.remaining_tasks import run
from bench.results import Benchmark, Effort, Row
from cachewright.cli.demo.cloud import Size


def measure(effort: Effort) -> Iterator[Row]:
    numbers = count(1)
    for installation in INSTALLATIONS[effort]:
        earlier = Counter[tuple[str, ...]]()
        with BenchCluster() as cluster:
            for series in installation:
                yield from _series(cluster, series, earlier, numbers)


def _series(
    cluster: BenchCluster, series: Series, earlier: Counter[tuple[str, ...]], numbers: Iterator[int]
) -> Iterator[Row]:
    """Rows of the tasks of a series. The round is the number of the task in the whole run; `earlier` counts the tasks
    of each kind on this installation."""
    instance_id = cluster.create(Size(series.shards[0], series.shard_gb))
    seed = cluster.seed(instance_id)
    load(*members(seed), series.content, series.megabytes, seed.password or "")
    for position in range(len(series.shards) - 1):
        task = run(cluster, instance_id, series, position)
        name, kind, number = series.name(position), series.kind(position), next(numbers)
        order = {"number": float(earlier.total() + 1), "earlier_of_kind": float(earlier[kind])}
        earlier[kind] += 1
        missed = position in series.interrupted and not task.interruptions
        notes = ("ended before it could be interrupted",) if missed else ()
        yield Row(case=name, contestant=OURS, round=number, values=own_values(task) | order, notes=notes)
        for rival, values in rival_values(task).items():
            yield Row(case=name, contestant=rival, round=number, values=values)
    cluster.delete(instance_id)


BENCHMARK = Benchmark(
    name="remaining",
    title="Remaining time",
    about="""
Clusters with 50 MB to 2 GB of small strings, big collections, both, or small strings and one hash of two million
fields are scaled out and in by turns, from one to four sources, in each migration mode: without clients, with clients,
with clients that come and go, and with 20,000 writes a second of 4 KB into the slots that move. Some tasks are paused
for ten seconds, in one the server is killed and started again, in one a source is frozen for five seconds. The tasks
run on three installations, each of which is fresh before its first task.

The plan is requested right before each task, and the task's record is read five times a second. An estimate counts at
the first reading that shows 10, 25, 50, 75 or 90 percent. Its error is the shown end minus the true end, as a share of
the task's duration; errors of different percents are never mixed. The time of an interruption is unforeseeable: it does
not count as duration, and what remains of it does not count in the true end.

The peers get the same percents at the same moments. *Elapsed / percent* is elapsed time x (100 - percent) / percent.
*Windowed rate* is computed as in Linux md: the rest divided by the rate since the oldest of the last ten marks. md sets
a mark every three seconds for resyncs that take hours; here it is every second.

A percent is compared with the share of the duration that has elapsed. The interval between the 10th and the 90th
percentile counts at all readings from 5 percent on. A jump is a shown end that differs by more than 15 % of the
duration from that of the reading before, without a wait, a change of the control settings or another effort (by more
than 5 %) in the record. A kind of task is its content, direction, mode and clients.

Scales of an instance that do the same take different times. How much one differs from the last one shows what a
prediction before the start can reach at best on this machine.
""",
    measure=measure,
    summary=summary,
    findings=findings,
    tables=tables,
    draw=draw,
)
