"""A task as a tree of steps and sub-steps with progress bars. Pure."""

from datetime import datetime

import msgspec
from rich.text import Text
from rich.tree import Tree

from cachewright.cli.render.waits import left, wait_text
from cachewright.client.progress import Progress, Step, SubStep

_NAME = 34
_BAR = 14
_WIDE = 130
_INDENT = 4
_STYLES = {"FINISH": "green", "FAILED": "bold red", "EXECUTING": "bold cyan", "WAITING": "dim"}
_MARKS = {"FINISH": "✓", "FAILED": "✗", "EXECUTING": "▸", "WAITING": "·"}
_ASCII_MARKS = {"FINISH": "+", "FAILED": "x", "EXECUTING": ">", "WAITING": "-"}


class Pen(msgspec.Struct, frozen=True, kw_only=True):
    """Draws rows for a terminal of this width.

    :ivar now: the current time, for elapsed times.
    :ivar width: columns of the terminal.
    :ivar ascii_only: use ASCII characters alone.
    """

    now: datetime
    width: int
    ascii_only: bool = False

    def row(self, item: Step | SubStep, share: float, width: int, detail: str = "") -> Text:
        mark = (_ASCII_MARKS if self.ascii_only else _MARKS).get(item.status, "?")
        row = Text(f"{mark} {_fit(item.name, width)} ", _STYLES.get(item.status, ""), no_wrap=True)
        row.append_text(self.bar(share, item.status))
        row.append(f" {item.status:<9} {self._elapsed(item):>7}")
        row.append(f"  {item.error_code}" if item.error_code else "", "bold red")
        row.append(f"  {detail}" if detail else "")
        row.overflow = "ellipsis"
        return row

    def bar(self, share: float, status: str) -> Text:
        done, to_do = ("#", ".") if self.ascii_only else ("━", "─")
        filled = round(min(max(share, 0.0), 1.0) * _BAR)
        return Text(done * filled, _STYLES.get(status, "")).append(to_do * (_BAR - filled), "dim")

    def elapsed(self, begin: datetime | None, end: datetime | None) -> str:
        return f"{max(((end or self.now) - begin).total_seconds(), 0):.1f} s" if begin else ""

    def _elapsed(self, item: Step | SubStep) -> str:
        return "" if item.status == "WAITING" else self.elapsed(item.begin, item.end)


def tree(pen: Pen, title: str, progress: Progress, *, height: int = 1000) -> Tree:
    """Draw the whole task. If it needs more than `height` lines, only executing and failed steps show their sub-steps.
    On a narrow terminal the detail of a sub-step has its own line."""
    wide = pen.width >= _WIDE
    lines = (
        1
        + len(progress.waits)
        + len(progress.steps)
        + sum(1 + bool(sub.migration and not wide) for sub in progress.sub_steps())
    )
    head = Text(f"{title}  ", "bold")
    head.append_text(pen.bar(progress.percent / 100, "EXECUTING"))
    drawn = Tree(head.append(f" {progress.percent} %  {left(progress)}"))
    for wait in progress.waits:
        drawn.add(Text(wait_text(wait, pen.now), "yellow"))
    for step in progress.steps:
        branch = drawn.add(pen.row(step, _step_share(step), _NAME + _INDENT))
        if lines <= height or step.status in {"EXECUTING", "FAILED"}:
            for sub_step in step.sub_steps:
                detail = sub_step.state
                row = branch.add(pen.row(sub_step, _share(sub_step), _NAME, detail if wide else ""))
                if detail and not wide:
                    row.add(Text(detail))
    return drawn


def _share(sub_step: SubStep) -> float:
    migration = sub_step.migration
    if sub_step.status == "FINISH":
        return 1.0
    if migration is None or not migration.keys_planned:
        return 0.0
    return migration.keys / migration.keys_planned


def _step_share(step: Step) -> float:
    """Share of keys moved; without keys, share of sub-steps that have ended."""
    weights = [(sub.migration.keys_planned if sub.migration else 0) + 1 for sub in step.sub_steps]
    done = sum(_share(sub) * weight for sub, weight in zip(step.sub_steps, weights, strict=True))
    return 1.0 if step.status == "FINISH" else done / max(sum(weights), 1)


def _fit(text: str, width: int) -> str:
    return f"{text:<{width}}" if len(text) <= width else f"{text[: width - 2]}.."
