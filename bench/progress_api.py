"""Speed of progress requests, with authentication."""

import threading
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import msgspec
from matplotlib.figure import Figure

from bench import progress_peers
from bench.polling_clients import Order, poll
from bench.progress_server import TASKS, ProgressServer
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

SIGNED, TOKEN, BARE, PLAIN = "Cachewright, signed", "Cachewright, token", "bare granian", "FastAPI, no sign-in"
_GOAL_OF_BARE, _GOAL_P99_MS = 0.4, 20.0
_CHANGES_SECONDS = 0.25
_HOST = "127.0.0.1"


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """:ivar paced: each connection sends one request a second, instead of the next one after each response.
    :ivar history: stored tasks besides the requested ones.
    :ivar changing: one of the requested tasks changes four times a second.
    """

    connections: int
    paced: bool = False
    history: int = 0
    changing: bool = False

    @property
    def name(self) -> str:
        who = f"{self.connections:,} {'pollers, once a second' if self.paced else 'connections'}"
        return f"{who}{', a task runs' if self.changing else ''}{f', {self.history:,} tasks' if self.history else ''}"


_MANY = 1_000_000
_CASES: dict[Effort, tuple[Case, ...]] = {
    "quick": (Case(connections=10),),
    "full": (
        *(Case(connections=count) for count in (1, 10, 100, 1000)),
        Case(connections=100, changing=True),
        Case(connections=1000, paced=True),
        Case(connections=1000, paced=True, changing=True),
        Case(connections=100, history=_MANY),
        Case(connections=1000, paced=True, history=_MANY),
    ),
}
_ROUNDS: dict[Effort, int] = {"quick": 1, "full": 3}
_SECONDS: dict[Effort, float] = {"quick": 0.5, "full": 1.5}
_PACED_SECONDS = 3.0
_CONTESTANTS = (SIGNED, TOKEN, BARE, PLAIN)


def measure(effort: Effort) -> Iterator[Row]:
    with ExitStack() as running:
        polled = running.enter_context(ProgressServer())
        body = polled.database_file.parent / "answer"
        body.write_bytes(_answer(polled))
        ports = {
            SIGNED: polled.port,
            TOKEN: polled.port,
            BARE: running.enter_context(progress_peers.running("bare", body)),
            PLAIN: running.enter_context(progress_peers.running("plain", polled.database_file)),
        }
        history = 0
        for case in _CASES[effort]:
            if case.history > history:
                polled.fill(case.history - history)
                history = case.history
            for turn in range(_ROUNDS[effort]):
                for name, port in ports.items():
                    with _changes(polled, case.changing):
                        outcome = poll(_order(polled, case, name, port, _SECONDS[effort]))
                    yield Row(case=case.name, contestant=name, round=turn, values=msgspec.structs.asdict(outcome))


def _order(polled: ProgressServer, case: Case, name: str, port: int, seconds: float) -> Order:
    return Order(
        host=_HOST,
        port=port,
        paths=polled.paths,
        connections=case.connections,
        seconds=_PACED_SECONDS if case.paced else seconds,
        every=1.0 if case.paced else None,
        key=(polled.access.access_key, polled.access.secret_key) if name == SIGNED else None,
        token=polled.token if name == TOKEN else None,
    )


def _answer(polled: ProgressServer) -> bytes:
    headers = {"X-Auth-Token": polled.token}
    request = urllib.request.Request(polled.access.endpoint + polled.paths[0], headers=headers)  # noqa: S310
    with urllib.request.urlopen(request) as answer:  # noqa: S310  # the server's own http address
        body: bytes = answer.read()
    return body


@contextmanager
def _changes(polled: ProgressServer, wanted: bool) -> Iterator[None]:
    over = threading.Event()

    def change() -> None:
        while not over.wait(_CHANGES_SECONDS):
            polled.change()

    thread = threading.Thread(target=change)
    if wanted:
        thread.start()
    try:
        yield
    finally:
        over.set()
        if wanted:
            thread.join()


def summary(rows: Sequence[Row]) -> Summary:
    fast = [case for case in cases(rows) if "once a second" not in case]
    paced = [case for case in cases(rows) if "once a second" in case]

    def times(name: str, peer: str) -> str:
        return medians_between(ratio(rows, case, "per_second", name, peer) for case in fast)

    p99s = [spread(values(rows, case, name, "p99_ms")) for case in paced for name in (SIGNED, TOKEN)]
    return Summary(
        "Requests a second for the progress of a task, and latency of 1,000 pollers",
        "granian that sends the same bytes; FastAPI that reads the same row; both without authentication",
        f"With a token {times(TOKEN, BARE)} times as many requests as bare granian and {times(TOKEN, PLAIN)} times as "
        f"many as FastAPI. p99 of 1,000 pollers {medians_between(p99s, ' ms')}.",
        f"With signatures, each of which is verified: {times(SIGNED, BARE)} times as many as bare granian.",
    )


def findings(rows: Sequence[Row]) -> list[Finding]:
    found = []
    for case in cases(rows):
        paced = "once a second" in case
        for name in (SIGNED, TOKEN):
            if paced:
                p99 = spread(values(rows, case, name, "p99_ms"))
                found.append(compared_to_goal(f"{case}: {name}, p99", p99, "<", _GOAL_P99_MS, "ms"))
            else:
                share = ratio(rows, case, "per_second", name, BARE)
                what = f"{case}: {name}, requests a second, of bare granian"
                found.append(compared_to_goal(what, share, ">=", _GOAL_OF_BARE))
    return found


def tables(rows: Sequence[Row]) -> list[Table]:
    lines = [
        (
            case,
            name,
            *(formatted(spread(values(rows, case, name, each))) for each in ("per_second", "p50_ms", "p99_ms")),
        )
        for case in cases(rows)
        for name in contestants(rows, case)
    ]
    return [Table("Requests", ("who asks", "whom", "requests a second", "p50, ms", "p99, ms"), lines)]


def draw(rows: Sequence[Row], figure: Figure) -> None:
    left, right = figure.subplots(1, 2)
    free = [case for case in cases(rows) if "once a second" not in case]
    paced = [case for case in cases(rows) if "once a second" in case]
    for axes, shown, metric, label in (
        (left, free, "per_second", "requests a second"),
        (right, paced, "p99_ms", "p99 in ms, each poller once a second"),
    ):
        for place, name in enumerate(_CONTESTANTS):
            medians = [spread(values(rows, case, name, metric)).median for case in shown]
            axes.barh([at + 0.2 * place for at in range(len(shown))], medians, 0.2, color=f"C{place}", label=name)
        axes.set_yticks([at + 0.3 for at in range(len(shown))], shown, fontsize=7)
        axes.set_xlabel(label, fontsize=8)
        axes.invert_yaxis()
    if paced:
        right.set_xscale("log")
        right.axvline(_GOAL_P99_MS, color="black", linewidth=0.8, linestyle=":")
    left.legend(fontsize=7)


BENCHMARK = Benchmark(
    name="progress_api",
    title="Progress API",
    about=f"""
`GET /v2/{{project_id}}/instances/{{instance_id}}/tasks/{{task_id}}/progress` of a real `cachewright serve`, for {TASKS}
resizes from 3 to 5 shards in turns: 12 sub-steps, about 5 KB of JSON. Requests are either signed by the cloud's
own signer, each with a different signature, or have a token. The peers: granian with the same set-up that sends the
same bytes, and a plain FastAPI application on uvicorn that reads the same row of the same database, decodes it, and
responds with pydantic models, without authentication. Options raise the rate limit and the limit of connections.

The client is one process with one thread, raw sockets and an epoll, and keeps every connection open;
requests are built and signed before the measurement. *Connections* send the next request after each response, which
saturates the server. *Pollers* send one request a second each, evenly spread, like clients that watch a task; their
times count from when a request was due. While *a task runs*, another process writes one of the requested tasks four
times a second, like the record of a running task. The tasks of the history are in the same table.

Server and pollers share the machine, so few of its cores make both slower.
""",
    measure=measure,
    summary=summary,
    findings=findings,
    tables=tables,
    draw=draw,
)
