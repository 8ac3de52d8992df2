"""The page of results: one row per benchmark, then the folded details of each."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from bench.catalogue import BENCHMARKS
from bench.results import Benchmark, Finding, Result, Table, formatted, load

_INTRO = """\
# Benchmarks

Each benchmark compares Cachewright with its peers in turns, in the same run, on the same machine. The tables show
medians (with minimum to maximum) over all rounds. Absolute times are those of a small shared machine; ratios carry over
to others. "0.5 times" means half.
"""

_MEASURE = """\
`make bench` measures everything and writes this page from the results beside it; `make bench BENCH=creation` measures
one benchmark.
"""

_QUICK = "These figures are of a quick run, which shows only that the benchmark works."


def write(results: Path, page: Path) -> None:
    """Draw the results in the folder `results`, and write the page."""
    from matplotlib.figure import Figure  # noqa: PLC0415  # slow to import, and only this function draws

    for benchmark, result in _found(results):
        figure = Figure(figsize=(9, 4.5), dpi=110, layout="constrained")
        benchmark.draw(result.rows, figure)
        figure.savefig(results / f"{benchmark.name}.png", metadata={"Software": ""})
    page.write_text(text(results, page))


def text(results: Path, page: Path) -> str:
    """Render the page of the results in the folder `results`."""
    return "\n".join(_lines(_found(results), results.relative_to(page.parent)))


def _found(results: Path) -> list[tuple[Benchmark, Result]]:
    return [(BENCHMARKS[name], result) for name in BENCHMARKS if (result := load(results, name))]


def _lines(found: Sequence[tuple[Benchmark, Result]], folder: Path) -> Iterator[str]:
    yield _INTRO
    yield from _markdown(
        Table(
            "",
            ("What", "Against what", "Result", "Where it falls short"),
            [_summary(benchmark, result) for benchmark, result in found],
        )
    )
    yield _MEASURE
    for benchmark, result in found:
        yield f"## {benchmark.title}\n"
        yield f"![{benchmark.title}]({folder / benchmark.name}.png)\n"
        if result.effort == "quick":
            yield f"**{_QUICK}**\n"
        yield from _folded("How it is measured", [benchmark.about.strip() + "\n"])
        yield from _goals(benchmark.findings(result.rows))
        for table in benchmark.tables(result.rows):
            yield from _folded(table.heading or "All figures", _markdown(table))
        yield f"`make bench BENCH={benchmark.name}` measures it again. This run took"
        yield f"{max(result.seconds / 60, 1):.0f} min on {_where(result)}."
        yield f"Each run is in [{benchmark.name}.json]({folder / benchmark.name}.json).\n"


def _summary(benchmark: Benchmark, result: Result) -> tuple[str, str, str, str]:
    summary = benchmark.summary(result.rows)
    told = (_QUICK, "") if result.effort == "quick" else (summary.result, summary.falls_short)
    return f"[{summary.what}](#{_anchor(benchmark.title)})", summary.against, *told


def _goals(findings: Sequence[Finding]) -> Iterator[str]:
    if goals := [finding for finding in findings if finding.goal]:
        met = sum(bool(finding.met) for finding in goals)
        rows = [(finding.what, _figure(finding), finding.goal, _met(finding)) for finding in goals]
        yield from _folded(
            f"Goals: {met} of {len(goals)} met", _markdown(Table("", ("", "measured", "goal", ""), rows))
        )
    if others := [(finding.what, _figure(finding)) for finding in findings if not finding.goal]:
        yield from _folded("Figures without a goal", _markdown(Table("", ("", "measured"), others)))


def _folded(title: str, lines: Iterable[str]) -> Iterator[str]:
    yield f"<details><summary>{title}</summary>\n"
    yield from lines
    yield "</details>\n"


def _where(result: Result) -> str:
    machine = result.machine
    return (
        f"{result.began[:10]}, {machine.cores} cores of {machine.cpu}, {machine.memory_gb:.0f} GB, {machine.system}, "
        f"Python {machine.python}, Valkey {machine.valkey}, Cachewright {machine.cachewright}"
    )


def _markdown(table: Table) -> Iterator[str]:
    yield f"| {' | '.join(table.columns)} |"
    yield f"|{'---|' * len(table.columns)}"
    for row in table.rows:
        yield f"| {' | '.join(row)} |"
    yield ""


def _figure(finding: Finding) -> str:
    return formatted(finding.figure, f" {finding.unit}" if finding.unit else "")


def _met(finding: Finding) -> str:
    return {True: "met", False: "**missed**", None: ""}[finding.met]


def _anchor(title: str) -> str:
    return "".join(c for c in title.lower().replace(" ", "-") if c.isalnum() or c == "-")
