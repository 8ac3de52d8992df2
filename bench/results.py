"""Measurements of a benchmark, their files, and the comparison of contestants.

Pure except `save` and `load`. A row is one run of one contestant in one case. Contestants of a case take turns within
a round, so that other load on the machine affects all of them. They are compared round by round; the median of the
ratios is shown with the lowest and the highest.
"""

import operator
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from bench.machine import Machine

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Effort = Literal["quick", "full"]
"""`quick` shows in seconds that a benchmark still works; its figures are meaningless."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """`values` by metric. A metric's unit is the end of its name: `seconds`, `p99_ms`, `per_second`, `mb`. `notes` say
    what no number says: the text and the moment of each error."""

    case: str
    contestant: str
    round: int
    values: dict[str, float]
    notes: tuple[str, ...] = ()


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One run of one benchmark. `began` is UTC, ISO 8601."""

    name: str
    began: str
    seconds: float
    effort: Effort
    machine: Machine
    rows: list[Row]


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    median: float
    low: float
    high: float
    count: int


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One figure that answers a question. `goal` is a text; `met` is None without a goal."""

    what: str
    figure: Spread
    unit: str = "x"
    goal: str = ""
    met: bool | None = None


_BOUNDS: dict[str, Callable[[float, float], bool]] = {"<": operator.lt, "<=": operator.le, ">=": operator.ge}


def compared_to_goal(what: str, figure: Spread, bound: str, goal: float, unit: str = "x") -> Finding:
    """Compare the median of a figure with its goal. The bound is `<`, `<=` or `>=`."""
    goal_text = f"{bound} {goal:g}{'' if unit == 'x' else f' {unit}'}".rstrip()
    return Finding(what=what, figure=figure, unit=unit, goal=goal_text, met=_BOUNDS[bound](figure.median, goal))


class Summary(msgspec.Struct, frozen=True):
    """One row of the page's first table, for readers who read nothing else. In Markdown, computed from the results.

    :ivar against: the peers.
    """

    what: str
    against: str
    result: str
    falls_short: str


class Table(msgspec.Struct, frozen=True):
    heading: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


class Benchmark(msgspec.Struct, frozen=True, kw_only=True):
    """:ivar about: description of the comparison and its method, in Markdown.
    :ivar measure: yields rows as they are measured.
    :ivar draw: the picture that shows the findings at a glance.
    """

    name: str
    title: str
    about: str
    measure: Callable[[Effort], Iterator[Row]]
    summary: Callable[[Sequence[Row]], Summary]
    findings: Callable[[Sequence[Row]], list[Finding]]
    tables: Callable[[Sequence[Row]], list[Table]]
    draw: Callable[[Sequence[Row], "Figure"], None]


def spread(values: Iterable[float]) -> Spread:
    """Median, lowest and highest value. ValueError without values."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("nothing was measured")
    return Spread(median=statistics.median(ordered), low=ordered[0], high=ordered[-1], count=len(ordered))


def values(rows: Iterable[Row], case: str, contestant: str, metric: str) -> list[float]:
    return [row.values[metric] for row in rows if (row.case, row.contestant) == (case, contestant)]


def ratio(rows: Sequence[Row], case: str, metric: str, ours: str, peer: str) -> Spread:
    """Our values divided by the peer's, round by round."""
    theirs = {row.round: row.values[metric] for row in rows if (row.case, row.contestant) == (case, peer)}
    own = [row for row in rows if (row.case, row.contestant) == (case, ours) and row.round in theirs]
    return spread(row.values[metric] / theirs[row.round] for row in own)


def medians_between(figures: Iterable[Spread], unit: str = "") -> str:
    """The lowest and the highest median: `0.31 to 0.97 x`. A quick run leaves cases out."""
    medians = sorted(figure.median for figure in figures)
    if not medians:
        return "not measured"
    ends = list(dict.fromkeys(_number(value) for value in (medians[0], medians[-1])))
    return f"{' to '.join(ends)}{unit}"


def cases(rows: Iterable[Row]) -> list[str]:
    """Cases in the order of their measurement."""
    return list(dict.fromkeys(row.case for row in rows))


def contestants(rows: Iterable[Row], case: str) -> list[str]:
    return list(dict.fromkeys(row.contestant for row in rows if row.case == case))


def formatted(figure: Spread, unit: str = "") -> str:
    """`0.97 (0.91 to 1.02)`."""
    if figure.count == 1:
        return f"{_number(figure.median)}{unit}"
    return f"{_number(figure.median)}{unit} ({_number(figure.low)} to {_number(figure.high)})"


def _number(value: float) -> str:
    if value == 0 or abs(value) >= 999.5:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def save(result: Result, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{result.name}.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")
    return path


def load(folder: Path, name: str) -> Result | None:
    path = folder / f"{name}.json"
    return msgspec.json.decode(path.read_bytes(), type=Result) if path.exists() else None
