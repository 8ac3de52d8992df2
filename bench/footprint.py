"""Resources of an idle server: processor time, memory, start time, and size on disk."""

import importlib.metadata
import re
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
import psutil
from matplotlib.figure import Figure

import cachewright
from bench.fleet import Fleet
from bench.results import (
    Benchmark,
    Effort,
    Finding,
    Row,
    Spread,
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
from cachewright.hosts.ports import free_ports

OURS, BARE, POLLING = "Cachewright", "bare libraries", "bare libraries, same queues"
_INSTALLED, _IMPORTED = "installed", "imported"
_QUEUES = {BARE: (), POLLING: ("instances", "webhooks")}
_CPU_GOAL, _KB_GOAL = 15.0, 20.0
_READY_SECONDS = 60.0
_NAME = re.compile(r"[A-Za-z0-9._-]+")
_EXTRA = re.compile(r"extra\s*==")


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """A server is measured for `window` seconds, from `settle` seconds after its first response."""

    instances: tuple[int, ...]
    rounds: int
    settle: float
    window: float


_PACES: dict[Effort, Pace] = {
    "quick": Pace(instances=(1,), rounds=1, settle=1, window=2),
    "full": Pace(instances=(1, 100, 1000), rounds=2, settle=6, window=12),
}


def measure(effort: Effort) -> Iterator[Row]:
    pace = _PACES[effort]
    yield _row(_INSTALLED, OURS, 0, mb=_size_of("cachewright") / 2**20)
    yield _row(_INSTALLED, BARE, 0, mb=_size_of("granian", "litestar", "dbos") / 2**20)
    for turn in range(pace.rounds):
        yield _row(_IMPORTED, f"{OURS}, command line", turn, seconds=_importing("cachewright.cli"))
        yield _row(_IMPORTED, f"{OURS}, server", turn, seconds=_importing("cachewright.cli.serve"))
        yield _row(_IMPORTED, BARE, turn, seconds=_importing("granian.server.embed, litestar, dbos"))
    for count in pace.instances:
        case = told_count(count)
        with Fleet(count) as fleet:
            for turn in range(pace.rounds):
                port = _free_port()
                words = ["cachewright", "serve", "--data-dir", str(fleet.root), "--listen", f"127.0.0.1:{port}"]
                yield _row(case, OURS, turn, **_at_rest(words, port, pace))
                for peer, queues in _QUEUES.items():
                    yield _row(case, peer, turn, **_bare(queues, pace))


def told_count(count: int) -> str:
    return f"{count:,} instance{'s' if count > 1 else ''}"


def _bare(queues: Sequence[str], pace: Pace) -> dict[str, float]:
    port = _free_port()
    with tempfile.TemporaryDirectory(prefix="cachewright-bench-") as folder:
        return _at_rest(["bench.bare_server", str(port), f"{folder}/bare.db", *queues], port, pace)


def _at_rest(module: Sequence[str], port: int, pace: Pace) -> dict[str, float]:
    with _served(module, port) as (process, start_seconds):
        time.sleep(pace.settle)
        begun, before = time.monotonic(), process.cpu_times()
        time.sleep(pace.window)
        took, after = time.monotonic() - begun, process.cpu_times()
        memory = process.memory_full_info()
    used = after.user + after.system - before.user - before.system
    return {
        "start_seconds": start_seconds,
        "cpu_percent": 100 * used / took,
        "uss_mb": memory.uss / 2**20,
        "rss_mb": memory.rss / 2**20,
    }


@contextmanager
def _served(module: Sequence[str], port: int) -> Iterator[tuple[psutil.Process, float]]:
    """The process, and the seconds from its start to its first response."""
    begun = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", *module], stdout=subprocess.DEVNULL)
    try:
        while not _answers(port):
            if process.poll() is not None or time.perf_counter() - begun > _READY_SECONDS:
                raise RuntimeError(f"{module[0]} does not answer")
            time.sleep(0.005)
        yield psutil.Process(process.pid), time.perf_counter() - begun
    finally:
        process.terminate()
        process.wait(_READY_SECONDS)


def _answers(port: int) -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5).close()
    except urllib.error.HTTPError as refusal:
        refusal.close()
    except OSError:
        return False
    return True


def _free_port() -> int:
    return next(free_ports("127.0.0.1", (30001, 32000), set()))


def _importing(modules: str) -> float:
    """Seconds to import modules in a new interpreter, without the start of the interpreter."""
    code = f"import time; b = time.perf_counter(); import {modules}; print(time.perf_counter() - b)"
    return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


def _size_of(*names: str) -> int:
    """Bytes of these distributions and their requirements without extras, by their lists of files."""
    waiting, seen = list(names), dict[str, int]()
    while waiting:
        name = waiting.pop().lower().replace("_", "-").replace(".", "-")
        if name in seen:
            continue
        try:
            found = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # required on other systems or Pythons
        seen[name] = sum(_bytes(Path(str(found.locate_file(file)))) for file in found.files or ())
        needed = [text for text in found.requires or () if not _EXTRA.search(text)]
        waiting += [matched.group() for matched in map(_NAME.match, needed) if matched]
    if "cachewright" in seen:
        seen["cachewright"] = _package_bytes()
    return sum(seen.values())


def _bytes(path: Path) -> int:
    return path.stat().st_size if path.suffix != ".pyc" and path.exists() else 0


def _package_bytes() -> int:
    """Bytes of the package's files: if it is installed from a checkout, its list of files is empty."""
    return sum(_bytes(path) for path in Path(cachewright.__file__).parent.rglob("*") if path.is_file())


def _row(case: str, contestant: str, turn: int, **measured: float) -> Row:
    return Row(case=case, contestant=contestant, round=turn, values=measured)


def _idle(rows: Sequence[Row]) -> list[str]:
    return [case for case in cases(rows) if case not in {_INSTALLED, _IMPORTED}]


def _each_instance_kb(rows: Sequence[Row]) -> Spread | None:
    """Growth of memory per instance, between the lowest and the highest number of instances, round by round."""
    few, *_, many = [*_idle(rows), _idle(rows)[-1]]
    more = _count(many) - _count(few)
    pairs = zip(values(rows, few, OURS, "uss_mb"), values(rows, many, OURS, "uss_mb"), strict=True)
    return spread(1024 * (after - before) / more for before, after in pairs) if more else None


def _count(case: str) -> int:
    return int(case.partition(" ")[0].replace(",", ""))


def summary(rows: Sequence[Row]) -> Summary:
    few, many = _idle(rows)[0], _idle(rows)[-1]

    def of(case: str, name: str) -> str:
        cpu, memory = (spread(values(rows, case, name, metric)) for metric in ("cpu_percent", "uss_mb"))
        return f"{medians_between([cpu], ' %')} of a core and {medians_between([memory], ' MB')}"

    return Summary(
        "CPU time and memory of an idle server",
        "a process of granian, Litestar and DBOS alone",
        f"{few}: {of(few, OURS)}. {many}: {of(many, OURS)}.",
        f"The libraries alone take {of(few, BARE)}. CPU time grows with the number of nodes, which are checked twice a "
        "second.",
    )


def findings(rows: Sequence[Row]) -> list[Finding]:
    found = []
    for case in _idle(rows):
        share = spread(values(rows, case, OURS, "cpu_percent"))
        found.append(compared_to_goal(f"at rest, {case}: of one core", share, "<", _CPU_GOAL, "%"))
    if grown := _each_instance_kb(rows):
        found.append(compared_to_goal("memory (USS) for each further instance", grown, "<", _KB_GOAL, "KB"))
    least = _idle(rows)[0]
    for metric, what, unit in (
        ("uss_mb", "memory (USS)", "MB"),
        ("start_seconds", "from its start to its first answer", "s"),
    ):
        found.append(Finding(what=f"{least}: {what}", figure=spread(values(rows, least, OURS, metric)), unit=unit))
    return found


def tables(rows: Sequence[Row]) -> list[Table]:
    metrics = ("cpu_percent", "uss_mb", "rss_mb", "start_seconds")
    idle = [
        (case, name, *(formatted(spread(values(rows, case, name, metric))) for metric in metrics))
        for case in _idle(rows)
        for name in contestants(rows, case)
    ]
    once = [
        (f"{case}, {name}", formatted(spread(values(rows, case, name, metric)), unit))
        for case, metric, unit in ((_IMPORTED, "seconds", " s"), (_INSTALLED, "mb", " MB"))
        for name in contestants(rows, case)
    ]
    return [
        Table("At rest", ("registered", "server", "% of a core", "USS, MB", "RSS, MB", "start, s"), idle),
        Table("Import and installation", ("", ""), once),
    ]


def draw(rows: Sequence[Row], figure: Figure) -> None:
    every = _idle(rows)
    for axes, (metric, label) in zip(
        figure.subplots(1, 3),
        (("cpu_percent", "% of a core"), ("uss_mb", "USS, MB"), ("start_seconds", "start, s")),
        strict=True,
    ):
        for place, name in enumerate((OURS, BARE, POLLING)):
            medians = [spread(values(rows, case, name, metric)).median for case in every]
            axes.bar([at + 0.27 * place for at in range(len(every))], medians, 0.27, label=name)
        axes.set_xticks([at + 0.27 for at in range(len(every))], every, fontsize=7)
        axes.set_title(label, fontsize=9)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8)


BENCHMARK = Benchmark(
    name="footprint",
    title="Footprint",
    about="""
An idle server with 1, 100 and 1,000 instances of one shard. Each has a real node, which the server supervises as
usual: it checks twice a second whether every node runs, and reads the statistics of each every five seconds. Nodes are
separate processes and are not counted. The peers are a process of granian, Litestar and DBOS alone, on an empty SQLite:
idle, and with the two queues of Cachewright, polled 20 and 4 times a second, because waits that short need frequent
polling if nothing wakes a queue; they have no instances. Memory is that of the first half minute; the hour of
statistics takes 32 KB for each instance once it is full. The size of an installation is the size of the files of the
installed distributions and their requirements, without extras and compiled files. DBOS imports psycopg if it is
installed, as it was for this measurement.
""",
    measure=measure,
    summary=summary,
    findings=findings,
    tables=tables,
    draw=draw,
)
