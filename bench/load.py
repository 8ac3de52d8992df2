"""Many instances and many concurrent tasks: what they cost, and what breaks first."""

import functools
import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

import msgspec
from matplotlib.figure import Figure

from bench import load_tasks
from bench.load_installation import Installation
from bench.load_measure import Ages, Requests, Used, used
from bench.load_tasks import Takeover
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
    spread,
    values,
)

_FEW, _MANY, _BUSY, _KILLED = (
    "few instances, at rest",
    "many instances, at rest",
    "many tasks",
    "many tasks, server killed",
)
_LIST, _SHOW, _PROGRESS = "ListInstances", "ShowInstance", "progress of a task"
_PARTS = ("server with the claim", "other server", "agents", "PostgreSQL")
_TASKS, _TAKEOVER, _DATABASE, _SIZE, _MACHINE = "tasks", "takeover", "database", "size", "machine"
_P99_GOAL_MS, _TAKEOVER_GOAL = 1000.0, 15.0


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """:ivar few: instances with a running node in the first case; all others have `running` and `stopped`.
    :ivar settle: seconds from the last change until an installation at rest is measured, for `window` seconds.
    """

    agents: int
    few: int
    running: int
    stopped: int
    tasks: int
    settle: float
    window: float


_PACES: dict[Effort, Pace] = {
    "quick": Pace(agents=2, few=2, running=4, stopped=6, tasks=4, settle=1, window=3),
    "full": Pace(agents=5, few=100, running=500, stopped=9_500, tasks=500, settle=20, window=40),
}


def measure(effort: Effort) -> Iterator[Row]:
    pace = _PACES[effort]
    with Installation(pace.agents) as installation:
        installation.add(running=pace.few, stopped=0)
        yield from _at_rest(installation, _FEW, pace)
        installation.add(running=pace.running - pace.few, stopped=pace.stopped)
        yield from _at_rest(installation, _MANY, pace)
        yield from _with_tasks(installation, _BUSY, pace, killing=False)
        yield from _with_tasks(installation, _KILLED, pace, killing=True)


def _at_rest(installation: Installation, case: str, pace: Pace) -> Iterator[Row]:
    time.sleep(pace.settle)
    with installation.connect() as connection:
        counted = connection.execute("SELECT (SELECT count(*) FROM instances), (SELECT count(*) FROM nodes)").fetchone()
        assert counted
        yield _row(case, _SIZE, instances=counted[0], nodes=counted[1], running=len(installation.running))
        with used(installation.processes, connection) as found, _watched(installation, []) as (requests, ages):
            time.sleep(pace.window)
        yield from _rows(case, found, requests, ages, per=found.seconds)


def _with_tasks(installation: Installation, case: str, pace: Pace, *, killing: bool) -> Iterator[Row]:
    takeover: Takeover | None = None
    with installation.connect() as connection, used(installation.processes, connection) as found:
        requested = load_tasks.request(installation, pace.tasks, connection)
        with _watched(installation, requested.ids) as (requests, ages):
            if killing:
                takeover = load_tasks.kill(installation, connection, requested)
            load_tasks.wait(connection, requested)
    with installation.connect() as connection:
        yield Row(case=case, contestant=_TASKS, round=0, values=load_tasks.figures(connection, requested))
    if takeover:
        yield _row(case, _TAKEOVER, **msgspec.structs.asdict(takeover))
    yield from _rows(case, found, requests, ages, per=len(requested.ids))


@contextmanager
def _watched(installation: Installation, task_ids: Sequence[str]) -> Iterator[tuple[Requests, Ages]]:
    """Send requests to the server without the claim, and read how old the knowledge of the other one is."""
    first, second = installation.servers
    chosen = itertools.cycle(installation.running)
    paths = {_LIST: lambda: "instances", _SHOW: lambda: f"instances/{next(chosen)}"}
    with ExitStack() as stack:
        connection = stack.enter_context(installation.connect())
        if task_ids:
            query = "SELECT instance_id, id FROM tasks WHERE id = ANY(%s)"
            rows = itertools.cycle(connection.execute(query, [list(task_ids)]).fetchall())
            paths[_PROGRESS] = functools.partial(_progress_path, rows)
        token = (installation.root / "first" / "metrics.token").read_text().strip()
        page = (f"{first.access.endpoint}/metrics", {"Authorization": f"Bearer {token}"})
        ages = stack.enter_context(Ages(connection, page))
        yield stack.enter_context(Requests(second.access, paths)), ages


def _progress_path(rows: Iterator[tuple[str, str]]) -> str:
    instance_id, task_id = next(rows)
    return f"instances/{instance_id}/tasks/{task_id}/progress"


def _rows(case: str, found: Used, requests: Requests, ages: Ages, *, per: float) -> Iterator[Row]:
    """:param per: seconds or tasks, to which the writes of the database are related."""
    measured = (*requests.figures(), *ages.figures(), *found.parts.items())
    for contestant, figures in measured:
        yield Row(case=case, contestant=contestant, round=0, values=_per(figures, per))
    yield _row(case, _MACHINE, busy_percent=found.busy_percent, seconds=found.seconds)
    yield _row(case, _DATABASE, commits=found.commits / per, rows=found.rows / per, log_kb=found.log_kb / per)


def _per(figures: Mapping[str, float], per: float) -> dict[str, float]:
    """Return figures, of which processor time is related to seconds or tasks."""
    others = {metric: value for metric, value in figures.items() if metric != "cpu_seconds"}
    return others | ({"cpu_ms": 1000 * figures["cpu_seconds"] / per} if "cpu_seconds" in figures else {})


def _row(case: str, contestant: str, **measured: float) -> Row:
    return Row(case=case, contestant=contestant, round=0, values=measured)


def _all(rows: Sequence[Row], metric: str, *chosen: str) -> list[float]:
    """Values of a metric in these cases, of the kinds of requests."""
    return [
        value for case in chosen for kind in (_LIST, _SHOW, _PROGRESS) for value in values(rows, case, kind, metric)
    ]


def _one(rows: Sequence[Row], case: str, contestant: str, metric: str) -> float:
    return values(rows, case, contestant, metric)[0]


def summary(rows: Sequence[Row]) -> Summary:
    def of(case: str, metric: str) -> str:
        return medians_between([spread([_one(rows, case, _PARTS[0], metric)])])

    size = {metric: f"{_one(rows, _MANY, _SIZE, metric):,.0f}" for metric in ("instances", "running")}
    tasks, busy = f"{_one(rows, _BUSY, _TASKS, 'requested'):,.0f}", _one(rows, _BUSY, _TASKS, "all_seconds")
    return Summary(
        "Many instances and many concurrent tasks on several servers and hosts",
        "the same installation with few instances, at rest",
        f"{size['instances']} instances, {size['running']} of them with a running node: {of(_MANY, 'cpu_percent')} % "
        f"of a core and {of(_MANY, 'uss_mb')} MB for the server that performs tasks. {tasks} restarts that are "
        f"requested together take {busy:.0f} s. After the death of that server, another one continues within "
        f"{_one(rows, _KILLED, _TAKEOVER, 'progress_seconds'):.0f} s, and no task is lost.",
        f"p99 of requests while the tasks run: {medians_between([spread(_all(rows, 'p99_ms', _BUSY))], ' ms')}; "
        f"at rest {medians_between([spread(_all(rows, 'p99_ms', _MANY))], ' ms')}.",
    )


def findings(rows: Sequence[Row]) -> list[Finding]:
    found = [
        compared_to_goal(f"{case}: tasks that were lost or failed", spread([_lost(rows, case)]), "<=", 0, "")
        for case in (_BUSY, _KILLED)
    ]
    for case in (_MANY, _BUSY, _KILLED):
        slowest = spread([max(_all(rows, "p99_ms", case))])
        found.append(compared_to_goal(f"{case}: p99 of the slowest kind of request", slowest, "<", _P99_GOAL_MS, "ms"))
    seconds = spread([_one(rows, _KILLED, _TAKEOVER, "progress_seconds")])
    found.append(
        compared_to_goal("from the death of a server to the next change of a task", seconds, "<", _TAKEOVER_GOAL, "s")
    )
    for metric, unit in (("cpu_percent", "%"), ("uss_mb", "MB")):
        for case in (_FEW, _MANY):
            figure = spread([_one(rows, case, _PARTS[0], metric)])
            found.append(Finding(what=f"{case}: {_PARTS[0]}", figure=figure, unit=unit))
    return found


def _lost(rows: Sequence[Row], case: str) -> float:
    return _one(rows, case, _TASKS, "lost") + _one(rows, case, _TASKS, "failed")


def tables(rows: Sequence[Row]) -> list[Table]:
    asked = [(_LIST, _SHOW, _PROGRESS), ("p50_ms", "p99_ms", "requests", "failed")]
    parts = [_PARTS, ("cpu_percent", "cpu_ms", "uss_mb")]
    written = [(_DATABASE,), ("commits", "rows", "log_kb")]
    made = [
        Table(heading, ("", "", *(metric.replace("_", " ") for metric in metrics)), list(_lines(rows, names, metrics)))
        for heading, (names, metrics) in (
            ("Requests to the server without the claim", asked),
            (
                "Processor time (100 % is one core; ms for each second, or each task) and memory",
                parts,
            ),
            ("The database: for each second at rest, for each task otherwise", written),
        )
    ]
    others = [
        (case, name, f"{metric.replace('_', ' ')}: {formatted(spread([value]))}")
        for case in cases(rows)
        for name in contestants(rows, case)
        if name not in {*asked[0], *parts[0], _DATABASE}
        for metric, value in next(row for row in rows if (row.case, row.contestant) == (case, name)).values.items()
    ]
    return [*made, Table("Sizes, tasks, ages and loops", ("", "", ""), others)]


def _lines(rows: Sequence[Row], names: Sequence[str], metrics: Sequence[str]) -> Iterator[Sequence[str]]:
    for case, name in itertools.product(cases(rows), names):
        if name in contestants(rows, case):
            yield (case, name, *(formatted(spread(values(rows, case, name, metric))) for metric in metrics))


def draw(rows: Sequence[Row], figure: Figure) -> None:
    left, right = figure.subplots(1, 2)
    every = cases(rows)
    for place, name in enumerate(_PARTS):
        shares = [sum(values(rows, case, name, "cpu_percent")) for case in every]
        left.bar([at + 0.2 * place for at in range(len(every))], shares, 0.2, label=name)
    for place, name in enumerate((_LIST, _SHOW, _PROGRESS)):
        asked = [(at, case) for at, case in enumerate(every) if name in contestants(rows, case)]
        times = [_one(rows, case, name, "p99_ms") for _, case in asked]
        right.bar([at + 0.2 * place for at, _ in asked], times, 0.2, label=name)
    for axes, title in ((left, "% of a core"), (right, "p99 of requests, ms")):
        axes.set_xticks(
            [at + 0.3 for at in range(len(every))], [case.replace(", ", ",\n") for case in every], fontsize=7
        )
        axes.set_title(title, fontsize=9)
        axes.legend(fontsize=7)


BENCHMARK = Benchmark(
    name="load",
    title="Many instances and tasks",
    about="""
PostgreSQL with its usual settings, two servers and five agents on addresses of one machine, all of which share its
cores with the nodes and with what measures. First 100 instances of one running node. Then 10,000: 500 of one running
node, and 9,500 of a node that their owners had stopped before the servers were started, with its files on a host.
Then 500 restarts are requested at the same time, through the server that performs no tasks. Each restart ends
the node's process, starts it, and waits until the node has loaded its data and serves its slots. The restarts are
requested a second time, and the server that performs the tasks is killed when a fifth of them has ended. Meanwhile
each kind of request is sent twice a second to the other server. The age of an estimate is the time since a running
task has stored its progress. A loop's longest time is that since the begin of its latest round, read every five
seconds; the rounds of the cluster check take 5 ms for each instance on purpose.
""",
    measure=measure,
    summary=summary,
    findings=findings,
    tables=tables,
    draw=draw,
)
