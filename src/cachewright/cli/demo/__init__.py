"""`cachewright demo`: creates, loads and scales a cluster on one host through the cloud's own SDK, and verifies it.

The demo uses only the public API and Valkey's protocol. It imports no server code.
"""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import msgspec
from rich.console import Console

from cachewright.cli.demo import report
from cachewright.cli.demo.background import TrafficEnded
from cachewright.cli.demo.cloud import CloudRefused
from cachewright.cli.demo.demo_instance import TaskFailed
from cachewright.cli.demo.demonstration import Demonstration, DemoOptions, Impossible
from cachewright.cli.demo.server import ServerFailed
from cachewright.cli.demo.watch import TaskLost

__all__ = ["DemoOptions", "run"]

_PIPE_WIDTH = 140
_EXPECTED = (Impossible, ServerFailed, CloudRefused, TaskLost, TaskFailed, TrafficEnded)


def run(options: DemoOptions) -> int:
    """Run the demo and print its measurements. 0 if every check passed."""
    console = Console(stderr=options.json)
    if not console.is_terminal:
        console.width = _PIPE_WIDTH
    verdict = _verdict(options, console)
    for table in report.tables(verdict.report) if verdict.report else ():
        console.print(table)
    for failure in verdict.failures:
        console.print(f"FAILED: {failure}", style="bold red", markup=False, highlight=False, soft_wrap=True)
    if verdict.ok:
        console.print("All checks passed: tasks, clients, writes, keys, processes.", style="bold green")
    if options.json:
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(verdict)) + b"\n")
    return 0 if verdict.ok else 1


def _verdict(options: DemoOptions, console: Console) -> report.Verdict:
    try:
        with _interruptible():
            return report.verdict(Demonstration(options, console).measure())
    except _EXPECTED as error:
        reason = str(error)
    except KeyboardInterrupt:
        reason = "interrupted"
    return report.Verdict(ok=False, failures=(reason,), report=None)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Treat SIGTERM like Ctrl-C: stop all processes and clean up."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
