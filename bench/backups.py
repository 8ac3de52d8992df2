"""Backup and restore: by Cachewright, by `valkey-cli --rdb`, and by BGSAVE with a copy of its file."""

import functools
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import msgspec
from matplotlib.figure import Figure

from bench.cluster import PASSWORD, BenchCluster
from bench.content import Content, load
from bench.nodes import VALKEY_CLI, BareCluster, client_of, members, until
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
from cachewright.cli.demo.slot_client import Seed
from cachewright.model.instances import Node

OURS, CLI, BGSAVE, QUIET = "Cachewright", "valkey-cli --rdb", "BGSAVE and a copy", "no backup"
RESTORED = "Cachewright, restore"
_SHARDS = 3
_QUIET_SECONDS = 3.0
_LONGEST_RESTORE = 3.4
"""Seconds without an answer that the page about restores names for shards of this size."""


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
        Case(content=Content.SMALL, megabytes=200, rounds=3),
        Case(content=Content.MIXED, megabytes=200, rounds=3),
    ),
}


def measure(effort: Effort) -> Iterator[Row]:
    for case in _CASES[effort]:
        with BenchCluster() as server, BareCluster(masters=_SHARDS) as bare, ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cachewright-bench-")))
            made = server.create(Size(_SHARDS, 1))
            leads, owned = members(server.seed(made))
            load(leads, owned, case.content, case.megabytes, PASSWORD)
            load(bare.nodes, bare.owned(), case.content, case.megabytes, "")
            for turn in range(case.rounds):
                seed = server.seed(made)
                yield _measured(case, QUIET, turn, seed, _nothing)
                yield _measured(case, OURS, turn, seed, functools.partial(_backed_up, server, made))
                yield _measured(case, CLI, turn, bare.seed, functools.partial(_by_cli, bare, folder))
                yield _measured(case, BGSAVE, turn, bare.seed, functools.partial(_by_bgsave, bare, folder))
                yield _restored(server, made, case, turn)


def _measured(case: Case, contestant: str, turn: int, seed: Seed, act: Callable[[], float]) -> Row:
    """A row with what `act` returns, the seconds that it took, and what clients saw meanwhile. RuntimeError if they
    saw an error."""
    with TrafficClients(TrafficSpec(seed=seed)) as clients:
        begun = time.monotonic()
        seconds = act()
        ended = time.monotonic()
        calls = clients.stop()
    if calls.errors or calls.lost:
        raise RuntimeError(f"{contestant}: {messages([*calls.errors, *calls.lost])}")
    seen = calls.within(begun, ended)
    figures = {"seconds": seconds, "p99_ms": seen.p99_ms, "longest_ms": seen.longest_ms}
    return Row(case=case.name, contestant=contestant, round=turn, values=figures)


def _nothing() -> float:
    """What clients see without a backup."""
    time.sleep(_QUIET_SECONDS)
    return _QUIET_SECONDS


def _backed_up(server: BenchCluster, instance_id: str) -> float:
    """Seconds of the task."""
    known = server.known(instance_id)
    server.api.ask("POST", f"instances/{instance_id}/backups", {})
    return server.ended(instance_id, known).seconds


def _by_cli(bare: BareCluster, folder: Path) -> float:
    """Seconds of `valkey-cli --rdb` of all nodes at the same time."""

    def save(node: Node) -> None:
        target = ["--rdb", str(folder / f"{node.id}.rdb")]
        subprocess.run([VALKEY_CLI, "-h", node.host, "-p", str(node.port), *target], capture_output=True, check=True)

    begun = time.perf_counter()
    _all_at_once(save, bare.nodes)
    return time.perf_counter() - begun


def _by_bgsave(bare: BareCluster, folder: Path) -> float:
    """Seconds of BGSAVE on all nodes at the same time, with a copy of each file."""

    def save(node: Node) -> None:
        with client_of(node) as client:
            client.bgsave()
            until(lambda: not client.info("persistence")["rdb_bgsave_in_progress"])
        shutil.copyfile(bare.root / "nodes" / node.id / "dump.rdb", folder / f"{node.id}.copy")

    begun = time.perf_counter()
    _all_at_once(save, bare.nodes)
    return time.perf_counter() - begun


def _all_at_once(act: Callable[[Node], None], nodes: Sequence[Node]) -> None:
    with ThreadPoolExecutor(len(nodes)) as threads:
        list(threads.map(act, nodes))


def _restored(server: BenchCluster, instance_id: str, case: Case, turn: int) -> Row:
    """A restore of the newest backup into the same instance, and the time for which no client had an answer."""
    newest = server.api.ask("GET", f"instances/{instance_id}/backups")["backup_record_response"][0]
    known = server.known(instance_id)
    with TrafficClients(TrafficSpec(seed=server.seed(instance_id))) as clients:
        begun = time.monotonic()
        body = {"backup_id": newest["backup_id"], "safety_backup": False}
        server.api.ask("POST", f"instances/{instance_id}/restores", body)
        ended = server.ended(instance_id, known)
        done = time.monotonic()
        calls = clients.stop()
    figures = {"seconds": ended.seconds, "unavailable_seconds": calls.within(begun, done).longest_ms / 1000}
    return Row(case=case.name, contestant=RESTORED, round=turn, values=figures)


def summary(rows: Sequence[Row]) -> Summary:
    names = cases(rows)
    longest = medians_between((spread(values(rows, case, OURS, "longest_ms")) for case in names), " ms")
    return Summary(
        "Time of a backup, and what clients notice",
        "`valkey-cli --rdb`; `BGSAVE` and a copy of its file",
        f"{medians_between(ratio(rows, case, 'seconds', OURS, CLI) for case in names)} times the time of "
        f"`valkey-cli --rdb`, and {medians_between(ratio(rows, case, 'seconds', OURS, BGSAVE) for case in names)} "
        f"times that of `BGSAVE` and a copy. The longest wait of a client is {longest}.",
        "The longest wait is "
        f"{medians_between(ratio(rows, case, 'longest_ms', OURS, QUIET) for case in names)} times that without one: "
        "these primaries have no replica that could send the snapshot. The peers neither verify nor encrypt their "
        "files, and each file has a moment of its own.",
    )


def findings(rows: Sequence[Row]) -> list[Finding]:
    found = []
    for case in cases(rows):
        longest = f"{case}: longest wait of a client"
        found.append(compared_to_goal(f"{longest} with {CLI}", ratio(rows, case, "longest_ms", OURS, CLI), "<=", 1))
        away = spread(values(rows, case, RESTORED, "unavailable_seconds"))
        found.append(compared_to_goal(f"{longest} during a restore", away, "<=", _LONGEST_RESTORE, "s"))
        for peer in (BGSAVE, QUIET):
            found.append(Finding(what=f"{longest} with {peer}", figure=ratio(rows, case, "longest_ms", OURS, peer)))
            p99 = ratio(rows, case, "p99_ms", OURS, peer)
            found.append(Finding(what=f"{case}: 99 of 100 answers with {peer}", figure=p99))
        found += [
            Finding(what=f"{case}: time of {peer}", figure=ratio(rows, case, "seconds", OURS, peer))
            for peer in (CLI, BGSAVE)
        ]
    return found


def tables(rows: Sequence[Row]) -> list[Table]:
    metrics = ("seconds", "p99_ms", "longest_ms")
    made = [
        (case, name, *(formatted(spread(values(rows, case, name, metric))) for metric in metrics))
        for case in cases(rows)
        for name in contestants(rows, case)
        if name != RESTORED
    ]
    times = ("seconds", "unavailable_seconds")
    back = [
        (case, *(formatted(spread(values(rows, case, RESTORED, metric))) for metric in times)) for case in cases(rows)
    ]
    return [
        Table("Backup", ("data", "how", "seconds", "99 of 100 answers, ms", "longest wait, ms"), made),
        Table("Restore into the same instance", ("data", "seconds", "longest wait of a client, s"), back),
    ]


def draw(rows: Sequence[Row], figure: Figure) -> None:
    every = cases(rows)
    for axes, (metric, label) in zip(
        figure.subplots(1, 2), (("seconds", "seconds"), ("longest_ms", "longest wait of a client, ms")), strict=True
    ):
        for place, name in enumerate((OURS, CLI, BGSAVE)):
            medians = [spread(values(rows, case, name, metric)).median for case in every]
            axes.bar([at + 0.27 * place for at in range(len(every))], medians, 0.25, label=name)
        axes.set_xticks([at + 0.27 for at in range(len(every))], every, fontsize=7)
        axes.set_ylabel(label)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8)


BENCHMARK = Benchmark(
    name="backups",
    title="Backup and restore",
    about="""
A cluster of three shards without replicas, so that the snapshots come from the primaries. Cachewright's time is that of
the whole task: snapshots at one moment, check by `valkey-check-rdb`, encryption, storage in a folder with fsync, and
manifest. The peers work on three nodes with the same data, all at the same time: `valkey-cli --rdb` into a folder, and
`BGSAVE` followed by a copy of the file. Four clients read and write meanwhile. A restore replaces the data of the
instance by that of its backup, without a backup of the present data before; its longest wait is the time for which the
nodes stop and load. The goals: no longer wait than with `valkey-cli --rdb`, which takes the same kind of snapshot; and
for a restore what [its page](restore.md) says. They were set when the figures of the first full run were known.
""",
    measure=measure,
    summary=summary,
    findings=findings,
    tables=tables,
    draw=draw,
)
