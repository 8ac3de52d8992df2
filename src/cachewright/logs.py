"""The server's own log: a line a record, for people or as JSON, with the request, instance and task it is about."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal

from pythonjsonlogger.json import JsonFormatter

Format = Literal["text", "json"]

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
