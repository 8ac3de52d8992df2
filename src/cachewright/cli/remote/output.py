"""Output of commands: tables, or the JSON of the API."""

import json
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

AsJson = Annotated[bool, Parameter(negative="", help="Print the API's response as JSON.")]

_PIPE_WIDTH = 200


def console() -> Console:
    found = Console(highlight=False)
    if not found.is_terminal:
        found.width = _PIPE_WIDTH
    return found


def print_json(body: Any) -> None:
    print(json.dumps(body, indent=2, ensure_ascii=False))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], right: Iterable[str] = ()) -> None:
    """Print a table. Columns in `right` are aligned right."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    numbers = set(right)
    for column in columns:
        table.add_column(column, justify="right" if column in numbers else "left", no_wrap=True)
    for row in rows:
        table.add_row(*("-" if cell is None else str(cell) for cell in row))
    console().print(table, markup=False)


def print_pairs(pairs: Iterable[tuple[str, object]]) -> None:
    table = Table.grid(padding=(0, 2))
    for name, value in pairs:
        table.add_row(name, "-" if value is None else str(value), style="")
    console().print(table, markup=False)


def size(count: float) -> str:
    """`12.3 MB`. Powers of 1024, as the API and Valkey count memory."""
    for unit in ("B", "KB", "MB", "GB"):
        if count < 1024 or unit == "GB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    raise AssertionError
