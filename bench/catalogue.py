"""Every benchmark there is, by name, in the order of the page."""

from bench import engine, footprint, scaling
from bench.results import Benchmark

_EVERY: tuple[Benchmark, ...] = (scaling.BENCHMARK, engine.BENCHMARK, footprint.BENCHMARK)

BENCHMARKS = {benchmark.name: benchmark for benchmark in _EVERY}
