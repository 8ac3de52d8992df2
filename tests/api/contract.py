"""The SDK's models as a strict reading of JSON: the Go client refuses a value of another type, Python's does not."""

from typing import Any

from huaweicloudsdkdcs.v2 import model

_SCALARS: dict[str, type] = {"str": str, "int": int, "bool": bool, "float": float}


def faults(value: Any, kind: str, where: str = "$") -> list[str]:
    """What in `value` is not of the SDK's type `kind`. Null is of any type; members it does not know may be there."""
    if value is None or kind == "object":
        return []
    if kind.startswith("list["):
        if not isinstance(value, list):
            return [f"{where} is no list"]
        return [fault for n, item in enumerate(value) for fault in faults(item, kind[5:-1], f"{where}[{n}]")]
    if kind in _SCALARS:
        return [] if type(value) is _SCALARS[kind] else [f"{where} is {value!r}, not {kind}"]
    if not isinstance(value, dict):
        return [f"{where} is no {kind}"]
    members = getattr(model, kind)
    found = []
    for name, member in members.openapi_types.items():
        name_on_wire = members.attribute_map[name]
        if name_on_wire not in value:
            found.append(f"{where}.{name_on_wire} is missing")
        else:
            found += faults(value[name_on_wire], member, f"{where}.{name_on_wire}")
    return found
