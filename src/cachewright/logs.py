"""Log of the server: text or JSON lines with ids of requests, instances and tasks.

Clients can cause log lines, so repeated tracebacks and lines logged with `extra=RARELY` are limited per minute.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any, Literal

from pythonjsonlogger.json import JsonFormatter

Format = Literal["text", "json"]

RARELY: Mapping[str, Any] = {"rarely": True}
"""`extra` of a line that clients can cause: only the first of each minute are written."""
_TRACES_A_MINUTE = 5
_ALL_TRACES_A_MINUTE = 30
_LINES_A_MINUTE = 60
_MINUTE = 60.0
_MOST_PLACES = 1000

_ids: ContextVar[Mapping[str, str]] = ContextVar("ids", default={})  # noqa: B039  # never changed in place


@contextmanager
def about(**ids: str) -> Iterator[None]:
    """Add ids to log lines of the block, and of tasks and threads that it starts."""
    before = _ids.set({**_ids.get(), **ids})
    try:
        yield
    finally:
        _ids.reset(before)


def configure(style: Format) -> None:
    """Log records of level INFO and above to standard error."""
    handler = logging.StreamHandler()
    handler.addFilter(RepeatedRecords().filter)
    handler.addFilter(_identify)
    handler.setFormatter(_json() if style == "json" else _Text("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs whole URLs, which may be signed


class RepeatedRecords:
    """Omits and counts tracebacks and lines that repeat too often."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._places: dict[tuple[Any, ...], _Minute] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to write a record. Only the traceback is removed from a record whose traceback repeats."""
        if record.exc_info and record.exc_info[1] is not None:
            place = _place(record.exc_info[1])
            left_out = self._count(place, _TRACES_A_MINUTE)
            if left_out is None or self._count((), _ALL_TRACES_A_MINUTE) is None:
                record.exc_info = record.exc_text = None
                _append(record, f"({place[0]} as before, its traceback is left out)")
            elif left_out:
                _append(record, f"({left_out} tracebacks like this were left out before it)")
        elif getattr(record, "rarely", False):
            left_out = self._count((record.name, record.msg), _LINES_A_MINUTE)
            if left_out:
                _append(record, f"({left_out} lines like this were left out before it)")
            return left_out is not None
        return True

    def _count(self, place: tuple[Any, ...], most: int) -> int | None:
        """Number of omitted records before this one; None to omit this one too."""
        now = self._now()
        minute = self._places.get(place)
        if minute is None or now - minute.begun >= _MINUTE:
            if len(self._places) >= _MOST_PLACES:
                self._places.clear()
            self._places[place] = _Minute(now)
            return minute.left_out if minute else 0
        minute.written += 1
        if minute.written <= most:
            return 0
        minute.left_out += 1
        return None


class _Minute:
    def __init__(self, begun: float) -> None:
        self.begun = begun
        self.written = 1
        self.left_out = 0


def _place(error: BaseException) -> tuple[Any, ...]:
    """Name of the exception, and the source line that raised it."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = (trace.tb_frame.f_code.co_filename, trace.tb_lineno) if trace else ("", 0)
    return (type(error).__name__, *where)


def _append(record: logging.LogRecord, text: str) -> None:
    with suppress(TypeError, ValueError, KeyError):  # the handler reports a message that does not fit its arguments
        record.msg, record.args = f"{record.getMessage()} {text}", ()


def _identify(record: logging.LogRecord) -> bool:
    for name, value in _ids.get().items():
        setattr(record, name, value)
    record.ids = _ids.get()
    return True


class _Text(logging.Formatter):
    """Text lines. Ids that the message does not contain follow it."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # the library's name
        line = super().formatMessage(record)
        ids: Mapping[str, str] = getattr(record, "ids", {})
        return " ".join([line, *(f"{name}={value}" for name, value in ids.items() if value not in line)])


def _json() -> logging.Formatter:
    """One JSON object per line: timestamp, level, logger, message, ids, and exc_info with a traceback."""
    return JsonFormatter(
        ["levelname", "name", "message"],
        rename_fields={"levelname": "level", "name": "logger"},
        reserved_attrs=[*logging.makeLogRecord({}).__dict__, "ids", "rarely", "message", "asctime", "taskName"],
        timestamp=True,
    )


class LineLimit:
    """Limits log lines that clients can cause, per minute, for each key (an address) and in total."""

    def __init__(self, of_one_key: int = 10, of_all: int = 300, clock: Callable[[], float] = time.monotonic) -> None:
        self._of_one_key = of_one_key
        self._of_all = of_all
        self._clock = clock
        self._begun = clock()
        self._written: Counter[str] = Counter()
        self._total = 0
        self._left_out = 0

    def note(self, key: str) -> str | None:
        """Suffix for the line: empty, or the number of omitted lines before it. None to omit this line."""
        if self._clock() - self._begun >= _MINUTE:
            self._begun, self._total = self._clock(), 0
            self._written.clear()
        if self._written[key] >= self._of_one_key or self._total >= self._of_all:
            self._left_out += 1
            return None
        self._written[key] += 1
        self._total += 1
        left_out, self._left_out = self._left_out, 0
        return f" ({left_out} lines like this were left out)" if left_out else ""
