"""All benchmarks by name, in the order of the page."""

from bench import (
    backups,
    creation,
    engine,
    fastest,
    footprint,
    impact,
    libraries,
    load,
    migration,
    progress_api,
    remaining,
    scaling,
)
from bench.results import Benchmark

_EVERY: tuple[Benchmark, ...] = (
    scaling.BENCHMARK,
    fastest.BENCHMARK,
    impact.BENCHMARK,
    libraries.BENCHMARK,
    remaining.BENCHMARK,
    progress_api.BENCHMARK,
    backups.BENCHMARK,
    creation.BENCHMARK,
    migration.BENCHMARK,
    engine.BENCHMARK,
    load.BENCHMARK,
    footprint.BENCHMARK,
)

BENCHMARKS = {benchmark.name: benchmark for benchmark in _EVERY}
