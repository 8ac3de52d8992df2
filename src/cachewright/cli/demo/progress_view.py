"""Shows a running task: a tree on a terminal, one line per change elsewhere."""

from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from cachewright.cli.render.changes import changes
from cachewright.cli.render.tree import Pen, tree
from cachewright.cli.render.waits import left
from cachewright.client.progress import Progress

_LINES_BESIDES = 4


class ProgressView:
    """View of one task, from the first `show` to the end of the `with` block."""

    def __init__(self, console: Console, title: str) -> None:
        self._console = console
        self._title = title
        self._before: Progress | None = None
        self._live = Live(console=console, auto_refresh=False, vertical_overflow="ellipsis")
        self._begun = datetime.now(UTC)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        else:
            self._console.print(Text(self._title), soft_wrap=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def show(self, progress: Progress, note: str) -> None:
        """Show progress, on a terminal with `note` below the tree."""
        now = datetime.now(UTC)
        seconds = (now - self._begun).total_seconds()
        if self._console.is_terminal:
            pen = Pen(now=now, width=self._console.width, ascii_only=self._console.options.ascii_only)
            title = f"{self._title}  {seconds:.1f} s"
            drawn = tree(pen, title, progress, height=self._console.height - _LINES_BESIDES)
            self._live.update(Group(drawn, Text(note, style="dim")), refresh=True)
        else:
            for line in changes(self._before, progress):
                head = f"{seconds:6.1f} s {progress.percent:3d} % {left(progress):>10}  "
                self._console.print(Text(head + line), soft_wrap=True)
        self._before = progress
