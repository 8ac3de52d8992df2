"""Conversion of records to rows and back. Nested members are stored as JSON text."""

import functools
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


@functools.cache
def _fields(kind: type[msgspec.Struct]) -> Mapping[str, str]:
    """Return the names of the members by the names of their columns, which are of a subclass of `str`."""
    return {name: name for name in kind.__struct_fields__}


def from_row(kind: type[Record], row: Mapping[Any, Any]) -> Record:
    known = _fields(kind)
    columns_read = zip(row.keys(), row.values(), strict=True)  # a look-up by name takes much longer
    fields = {known[name]: value for name, value in columns_read if name in known}
    for name in _NESTED & fields.keys():
        fields[name] = msgspec.json.decode(fields[name])
    return msgspec.convert(fields, kind, strict=False)  # SQLite has no boolean type
