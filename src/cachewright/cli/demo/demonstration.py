"""Sequence of the demo's actions, and the cleanup after them."""

import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import msgspec
import psutil
from rich.console import Console

from cachewright.cli.demo import latency, report
from cachewright.cli.demo.background import Background
from cachewright.cli.demo.cloud import Cloud, Single, Size
from cachewright.cli.demo.content import DataSet
from cachewright.cli.demo.demo_instance import DemoInstance, OwnInstance
from cachewright.cli.demo.load import Loaded, ReportCount, Verified, load, verify
from cachewright.cli.demo.server import ServerProcess, kill_left_behind
from cachewright.cli.demo.slot_client import Seed, SlotClient
from cachewright.cli.demo.watch import Watched
from cachewright.cli.demo.wire import Outcome, TrafficSpec

_SHARD_SIZES = (1, 2, 4, 8)
_MAX_FILL = 0.4
_EXPIRES_IN = 24 * 3600
_WORKERS = 128
_CONTROL_NAME = "cachewright-demo-control"
_WARM_UP_SECONDS = 1.5
_AFTER_SECONDS = 1.0

_Counted = TypeVar("_Counted")
_Span = tuple[float, float]


class DemoOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options of the demo. `start` and `to` count shards. `data_dir` must be empty or not exist.

    :ivar database_url: an empty database; None for SQLite in `data_dir`.
    """

    data_dir: Path
    keys: int = 300_000
    start: int = 3
    to: int = 5
    json: bool = False
    database_url: str | None = None
    operations_per_second: int = 600
    quiet_seconds: float = 5.0


class Impossible(Exception):
    """The options are not valid on this host."""


class _Observed(msgspec.Struct, frozen=True, kw_only=True):
    """Measurements while the server ran."""

    creation: Watched
    loaded: Loaded
    quiet: _Span
    scale_out: tuple[_Span, Watched]
    scale_in: tuple[_Span, Watched]
    outcome: Outcome
    data: Verified


class Demonstration:
    """One run of the demo. `measure` stops everything it started, also after an error."""

    def __init__(self, options: DemoOptions, console: Console) -> None:
        if not 1 <= options.start < options.to:
            raise Impossible("--to must be more than --from, and --from at least 1")
        if options.keys < 1:
            raise Impossible("--keys must be at least 1")
        self._options = options
        self._console = console
        self._data = DataSet(keys=options.keys, expires_at=int(time.time()) + _EXPIRES_IN)
        self._shard_gb = shard_gb(self._data, options.start)
        if self._data.memory > (total := psutil.virtual_memory().total):
            needed = f"{self._data.memory / 2**30:.1f} GB of memory"
            raise Impossible(f"{options.keys:,} keys take {needed}, and this host has {total / 2**30:.1f} GB")

    def measure(self) -> report.Report:
        options = self._options
        self._say(f"Starting the server on {options.data_dir}")
        try:
            server = ServerProcess(options.data_dir, database_url=options.database_url)
            try:
                seen = self._observe(Cloud(server.access))
            except Exception:
                self._say(f"Last lines of the server's log:\n{server.tail()}")
                raise
            finally:
                stopped = server.stop()
        finally:
            left = kill_left_behind(options.data_dir)
        samples = latency.unpacked(seen.outcome.samples)
        (out_span, scale_out), (in_span, scale_in) = seen.scale_out, seen.scale_in
        quiet, while_out, while_in = (latency.of_phase(samples, *span) for span in (seen.quiet, out_span, in_span))
        return report.Report(
            keys=options.keys,
            shard_gb=self._shard_gb,
            creation=report.change(seen.creation, 0, options.start),
            loaded=seen.loaded,
            scale_out=report.change(scale_out, options.start, options.to),
            scale_in=report.change(scale_in, options.to, options.start),
            traffic=report.traffic(seen.outcome, quiet, while_out, while_in),
            data=seen.data,
            processes_left=left,
            server_stopped=stopped,
        )

    def _observe(self, cloud: Cloud) -> _Observed:
        options = self._options
        with (
            DemoInstance(cloud, self._console, Size(options.start, self._shard_gb)) as instance,
            OwnInstance(cloud, self._console, _CONTROL_NAME, Single(), "the control node") as control,
        ):
            creation = instance.created()
            control.wait_until_running()
            loaded = self._load(instance.seed())
            spec = self._traffic_spec(instance.seed(), control.seed())
            with closing(Background(spec, options.data_dir / "traffic.log")) as traffic:
                quiet = self._quiet()
                instance.note = traffic.note
                scale_out = _scale(instance, options.to)
                scale_in = _scale(instance, options.start)
                self._say("Reading back all acknowledged writes")
                outcome = traffic.stop(instance.seed())
            data = self._verify(instance.seed())
        return _Observed(
            creation=creation,
            loaded=loaded,
            quiet=quiet,
            scale_out=scale_out,
            scale_in=scale_in,
            outcome=outcome,
            data=data,
        )

    def _load(self, seed: Seed) -> Loaded:
        with SlotClient(seed) as owners:
            loaded = self._with_counter("Loading", lambda report_count: load(owners, self._data, report_count))
        self._say(f"Loaded {loaded.keys:,} keys in {loaded.seconds:.1f} s, {loaded.keys_per_second:,.0f} keys/s")
        return loaded

    def _verify(self, seed: Seed) -> Verified:
        with SlotClient(seed) as owners:
            return self._with_counter("Checking", lambda report_count: verify(owners, self._data, report_count))

    def _traffic_spec(self, seed: Seed, control: Seed) -> TrafficSpec:
        rate = self._options.operations_per_second
        return TrafficSpec(seed=seed, control=control, data=self._data, operations_per_second=rate, workers=_WORKERS)

    def _quiet(self) -> _Span:
        options = self._options
        rate = options.operations_per_second
        self._say(f"Clients at {rate} operations/s; measuring {options.quiet_seconds:.0f} s without scaling")
        time.sleep(_WARM_UP_SECONDS)
        begin = time.monotonic()
        time.sleep(options.quiet_seconds)
        return begin, time.monotonic()

    def _with_counter(self, what: str, work: Callable[[ReportCount], _Counted]) -> _Counted:
        line = f"{what} {self._data.keys:,} keys"
        if not self._console.is_terminal:
            self._say(line)
        with self._console.status(line) as status:
            return work(lambda done: status.update(f"{line}: {done:,}"))

    def _say(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def shard_gb(data: DataSet, shards: int) -> int:
    """Smallest shard size with which the data fills the shards by at most 40 %."""
    for size in _SHARD_SIZES:
        if data.memory / shards <= size * 2**30 * _MAX_FILL:
            return size
    raise Impossible(f"{data.keys:,} keys do not fit into {shards} shards of {_SHARD_SIZES[-1]} GB")


def _scale(instance: DemoInstance, shards: int) -> tuple[_Span, Watched]:
    """Scale, and return the period in which clients may be affected: from the call to one second after the end."""
    planned = instance.planned_seconds(shards)
    begin = time.monotonic()
    watched = instance.scale(shards, planned)
    end = time.monotonic()
    time.sleep(_AFTER_SECONDS)
    return (begin, end), watched
