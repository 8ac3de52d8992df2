"""Conversion of records to rows and back. Nested members are stored as JSON text."""

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

Record = TypeVar("Record", bound=msgspec.Struct)

_NESTED = {
    *("events", "subjects", "attributes", "parameters", "params", "details", "steps", "forecasts"),
    *("disabled_commands", "report", "ranges", "stored"),
}


def to_row(record: msgspec.Struct) -> dict[str, Any]:
    return columns(**msgspec.structs.asdict(record))


def columns(**values: Any) -> dict[str, Any]:
    return {name: msgspec.json.encode(value).decode() if name in _NESTED else value for name, value in values.items()}


def from_row(kind: type[Record], row: Mapping[Any, Any]) -> Record:
    fields = {name: row[name] for name in kind.__struct_fields__ if name in row}
    for name in _NESTED & fields.keys():
        fields[name] = msgspec.json.decode(fields[name])
    return msgspec.convert(fields, kind, strict=False)  # SQLite has no boolean type
