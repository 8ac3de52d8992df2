"""The server's own log: a line a record, for people or as JSON, with the request, instance and task it is about."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal

from pythonjsonlogger.json import JsonFormatter

Format = Literal["text", "json"]

_LIMITED_SECONDS = 60.0

_ids: ContextVar[Mapping[str, str]] = ContextVar("ids", default={})  # noqa: B039  # never changed in place


@contextmanager
def about(**ids: str) -> Iterator[None]:
    """What is logged within it, in this task or thread and those it starts, carries these ids."""
    before = _ids.set({**_ids.get(), **ids})
    try:
        yield
    finally:
        _ids.reset(before)


def configure(style: Format) -> None:
    """Everything from INFO on goes to standard error."""
    handler = logging.StreamHandler()
    handler.addFilter(_identify)
    handler.setFormatter(_json() if style == "json" else _Text("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("alembic").setLevel(logging.WARNING)


def _identify(record: logging.LogRecord) -> bool:
    for name, value in _ids.get().items():
        setattr(record, name, value)
    record.ids = _ids.get()
    return True


class _Text(logging.Formatter):
    """Ids that the message does not name follow it."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # the library's name
        line = super().formatMessage(record)
        ids: Mapping[str, str] = getattr(record, "ids", {})
        return " ".join([line, *(f"{name}={value}" for name, value in ids.items() if value not in line)])


def _json() -> logging.Formatter:
    """One object a line: timestamp, level, logger, message, the ids, and exc_info where there is a trace."""
    return JsonFormatter(
        ["levelname", "name", "message"],
        rename_fields={"levelname": "level", "name": "logger"},
        reserved_attrs=[*logging.makeLogRecord({}).__dict__, "ids", "message", "asctime", "taskName"],
        timestamp=True,
    )


class LineLimit:
    """Limits log lines that strangers can cause: so many a minute for each key (an address), and so many in all."""

    def __init__(self, of_one_key: int = 10, of_all: int = 300, clock: Callable[[], float] = time.monotonic) -> None:
        self._of_one_key = of_one_key
        self._of_all = of_all
        self._clock = clock
        self._begun = clock()
        self._written: Counter[str] = Counter()
        self._total = 0
        self._left_out = 0

    def note(self, key: str) -> str | None:
        """What to add to the line: nothing, or how many lines were left out before it. None: leave this one out."""
        if self._clock() - self._begun >= _LIMITED_SECONDS:
            self._begun, self._total = self._clock(), 0
            self._written.clear()
        if self._written[key] >= self._of_one_key or self._total >= self._of_all:
            self._left_out += 1
            return None
        self._written[key] += 1
        self._total += 1
        left_out, self._left_out = self._left_out, 0
        return f" ({left_out} lines like this were left out)" if left_out else ""
