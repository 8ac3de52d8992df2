"""`python -m bench`: measure, store the results as JSON, and write the page that shows them."""

import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import cyclopts

from bench.catalogue import BENCHMARKS
from bench.machine import this_machine
from bench.page import write
from bench.results import Effort, Result, Row, save

PAGE = Path("docs/benchmarks.md")
RESULTS = Path("docs/benchmarks")

app = cyclopts.App(name="bench", help="How fast it is, against what it could be.")


@app.default
def run(*names: str, effort: Effort = "full", results: Path = RESULTS, page: Path = PAGE) -> None:
    """Run the benchmarks of these names, or all.

    Parameters
    ----------
    names
        Names of benchmarks; by default all.
    effort
        `quick` shows that they still work; its figures are meaningless.
    results
        Folder for the results as JSON and the pictures.
    page
        The page to write from that folder.
    """
    signal.signal(signal.SIGTERM, _end)
    if unknown := [name for name in names if name not in BENCHMARKS]:
        sys.exit(f"no benchmark is called {unknown[0]}; there are {', '.join(BENCHMARKS)}")
    for name in names or BENCHMARKS:
        benchmark = BENCHMARKS[name]
        print(f"{benchmark.title} ({name})", flush=True)
        began, clock = datetime.now(UTC), time.monotonic()
        rows = []
        for row in benchmark.measure(effort):
            print(_line(row), flush=True)
            rows.append(row)
        result = Result(
            name=name,
            began=began.isoformat(timespec="seconds"),
            seconds=round(time.monotonic() - clock, 1),
            effort=effort,
            machine=this_machine(),
            rows=rows,
        )
        print(f"  kept in {save(result, results)}, {result.seconds:.0f} s")
    write(results, page)


@app.command
def page(*, results: Path = RESULTS, page: Path = PAGE) -> None:
    """Draw the stored results again, and write their page."""
    write(results, page)


def _end(*_: object) -> None:
    """On SIGTERM, exit through the context managers, which stop servers and nodes and remove folders."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # `timeout` sends two, and the second would interrupt them
    sys.exit(128 + signal.SIGTERM)


def _line(row: Row) -> str:
    values = "  ".join(f"{metric} {value:,.4g}" for metric, value in row.values.items())
    return f"  {row.round} {row.case:40} {row.contestant:28} {values}"


if __name__ == "__main__":
    app()
