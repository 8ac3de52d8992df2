"""All benchmarks by name, in the order of the page."""

from bench import creation, engine, footprint, impact, progress_api, remaining, scaling
from bench.results import Benchmark

_EVERY: tuple[Benchmark, ...] = (
    scaling.BENCHMARK,
    impact.BENCHMARK,
    remaining.BENCHMARK,
    progress_api.BENCHMARK,
    creation.BENCHMARK,
    engine.BENCHMARK,
    footprint.BENCHMARK,
)

BENCHMARKS = {benchmark.name: benchmark for benchmark in _EVERY}
