"""Contestants of the latency benchmark, and their goals."""

from collections.abc import Iterator, Sequence

from bench.content import Content
from bench.results import Finding, Row, cases, compared_to_goal, contestants, ratio, spread, values

MODES = ("fastest", "balanced", "gentle")
FASTEST, BALANCED, GENTLE = (f"Cachewright, {mode}" for mode in MODES)
BARE, QUIET = "bare MIGRATESLOTS", "no scale"
FORKS = "forks without a scale"
METRICS = (
    "seconds",
    "per_second",
    "p50_ms",
    "p99_ms",
    "p999_ms",
    "longest_read_ms",
    "longest_write_ms",
    "over_10_ms_percent",
    "errors",
)
_GOALS_OF_BALANCED = (
    ("longest_ms", "longest wait", 40.0, "ms"),
    ("p99_ms", "p99", 20.0, "ms"),
    ("over_10_ms_percent", "requests over 10 ms", 3.0, "%"),
)
_GOAL_P99_OF_GENTLE, _GOAL_LONGEST_OF_GENTLE_MS = 2.0, 10.0
_SPEED_OF = {BALANCED: (1000, 8.0), GENTLE: (10, 1.0)}


def cli(pipeline: int) -> str:
    return f"valkey-cli reshard, pipeline {pipeline}"


def ours(mode: str, way: str) -> str:
    return f"Cachewright, {mode}, {way}"


def findings(rows: Sequence[Row]) -> list[Finding]:
    """Compare each mode with its own goals. In fastest mode clients are not protected."""
    return [finding for case in cases(rows) for finding in _of_case(rows, case)]


def _of_case(rows: Sequence[Row], case: str) -> Iterator[Finding]:
    there = contestants(rows, case)
    for name in (name for name in there if name.startswith("Cachewright")):
        longest = spread(values(rows, case, name, "longest_ms"))
        slower = ratio(rows, case, "p99_ms", name, QUIET)
        subject = f"{name}, {case}"
        if name.startswith(BALANCED):
            for metric, what, goal, unit in _GOALS_OF_BALANCED:
                figure = spread(values(rows, case, name, metric))
                yield compared_to_goal(f"{subject}: {what}", figure, "<=", goal, unit)
        elif name.startswith(GENTLE):
            yield compared_to_goal(f"{subject}: p99, of that without a scale", slower, "<=", _GOAL_P99_OF_GENTLE)
            if case.startswith(Content.SMALL):
                goal = _GOAL_LONGEST_OF_GENTLE_MS
                yield compared_to_goal(f"{subject}: longest wait", longest, "<=", goal, "ms")
            else:
                yield Finding(what=f"{subject}: longest wait", figure=longest, unit="ms")
        else:
            yield Finding(what=f"{subject}: longest wait", figure=longest, unit="ms")
        if not name.startswith(GENTLE):
            yield Finding(what=f"{subject}: p99, of that without a scale", figure=slower)
        wrong = spread(values(rows, case, name, "errors") + values(rows, case, name, "lost"))
        yield Finding(what=f"{subject}: errors and lost writes", figure=wrong, unit="", goal="0", met=wrong.high == 0)
    if FORKS in there:
        longest = spread(values(rows, case, FORKS, "longest_ms"))
        yield Finding(what=f"{FORKS}, {case}: longest wait", figure=longest, unit="ms")
    for mode, (pipeline, goal) in _SPEED_OF.items():
        name, peer = f"{mode}, out", cli(pipeline)
        if name in there and peer in there:
            faster = ratio(rows, case, "seconds", peer, name)
            yield compared_to_goal(f"{name}, {case}: speed of {peer}", faster, ">=", goal)
    if f"{GENTLE}, out" in there and cli(10) in there:
        share = ratio(rows, case, "longest_ms", f"{GENTLE}, out", cli(10))
        yield compared_to_goal(f"{GENTLE}, out, {case}: longest wait, of that of {cli(10)}", share, "<", 1.0)
