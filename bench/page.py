"""The page of results: a table of goals; for each benchmark what it compares, a picture, tables, how to repeat it."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.catalogue import BENCHMARKS
from bench.results import Benchmark, Finding, Result, Table, kept, told

_INTRO = """\
# Benchmarks

Every figure compares two things that were measured in turns, in the same run, on the same machine: Cachewright and a
peer, or the bare limit. The median of all rounds is told, with the lowest and the highest behind it. Absolute times are
those of a small shared machine; the ratios are what carries over.

This page is made from the results beside it by `make bench`, which measures everything anew; one benchmark alone is
`make bench BENCH=creation`.
"""


def write(results: Path, page: Path) -> None:
    """Draws what is kept in `results`, and writes the page."""
    from matplotlib.figure import Figure  # noqa: PLC0415  # slow to import, and only this function draws

    for benchmark, result in _found(results):
        figure = Figure(figsize=(9, 4.5), dpi=110, layout="constrained")
        benchmark.draw(result.rows, figure)
        figure.savefig(results / f"{benchmark.name}.png", metadata={"Software": ""})
    page.write_text(text(results, page))


def text(results: Path, page: Path) -> str:
    """What the page says of what is kept in `results`."""
    return "\n".join(_lines(_found(results), results.relative_to(page.parent)))


def _found(results: Path) -> list[tuple[Benchmark, Result]]:
    return [(BENCHMARKS[name], result) for name in BENCHMARKS if (result := kept(results, name))]


def _lines(found: Sequence[tuple[Benchmark, Result]], folder: Path) -> Iterator[str]:
    yield _INTRO
    yield from _markdown(
        Table(
            "Goals",
            ("", "measured", "goal", ""),
            [
                (
                    f"[{benchmark.title}](#{_anchor(benchmark.title)}): {finding.what}",
                    _figure(finding),
                    finding.goal,
                    _met(finding),
                )
                for benchmark, result in found
                for finding in benchmark.findings(result.rows)
            ],
        )
    )
    for benchmark, result in found:
        yield f"## {benchmark.title}\n"
        yield benchmark.about.strip() + "\n"
        yield f"![{benchmark.title}]({folder / benchmark.name}.png)\n"
        for table in benchmark.tables(result.rows):
            yield from _markdown(table, level=3)
        yield f"Again: `make bench BENCH={benchmark.name}`. This one took {max(result.seconds / 60, 1):.0f} min on"
        yield f"{_where(result)}. Each run of it is in [{benchmark.name}.json]({folder / benchmark.name}.json).\n"


def _where(result: Result) -> str:
    machine = result.machine
    return (
        f"{result.began[:10]}, {machine.cores} cores of {machine.cpu}, {machine.memory_gb:.0f} GB, {machine.system}, "
        f"Python {machine.python}, Valkey {machine.valkey}, Cachewright {machine.cachewright}"
    )


def _markdown(table: Table, level: int = 2) -> Iterator[str]:
    if table.heading:
        yield f"{'#' * level} {table.heading}\n"
    yield f"| {' | '.join(table.columns)} |"
    yield f"|{'---|' * len(table.columns)}"
    for row in table.rows:
        yield f"| {' | '.join(row)} |"
    yield ""


def _figure(finding: Finding) -> str:
    return told(finding.figure, f" {finding.unit}" if finding.unit else "")


def _met(finding: Finding) -> str:
    return {True: "met", False: "**missed**", None: ""}[finding.met]


def _anchor(title: str) -> str:
    return "".join(c for c in title.lower().replace(" ", "-") if c.isalnum() or c == "-")
