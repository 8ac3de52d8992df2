"""Reading what is asked: ids of the path, query parameters, JSON bodies. What is wrong is refused by name."""

import re
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from litestar import Request

from cachewright.api.auth.gate import PRINCIPAL
from cachewright.errors import Refusal
from cachewright.store.records import Principal

Shape = TypeVar("Shape", bound=msgspec.Struct)

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
_TASK_ID = re.compile(r"[0-9a-f]{32}")
_WHERE = re.compile(r" - at `\$\.?(.*)`$")

_CODES = {
    "name": "DCS.4010",
    "engine": "DCS.4006",
    "engine_version": "DCS.4008",
    "capacity": "DCS.4012",
    "new_capacity": "DCS.4012",
    "vpc_id": "DCS.4013",
    "subnet_id": "DCS.4016",
    "spec_code": "DCS.4927",
    "az_codes": "DCS.4067",
    "no_password_access": "DCS.4843",
}
"""Fields whose faults have a code of their own."""


def principal(request: Request[Any, Any, Any]) -> Principal:
    who: Principal = request.scope["state"][PRINCIPAL]
    return who


def instance_id(text: str) -> str:
    """Refusal DCS.4061 unless it is a UUID."""
    if not _UUID.fullmatch(text):
        raise Refusal("DCS.4061")
    return text.lower()


def task_id(text: str) -> str:
    """Refusal DCS.4070 unless it is 32 hexadecimal digits, with or without a UUID's dashes."""
    plain = text.replace("-", "").lower() if _UUID.fullmatch(text) else text.lower()
    if not _TASK_ID.fullmatch(plain):
        raise Refusal("DCS.4070")
    return plain


def query(request: Request[Any, Any, Any], shape: type[Shape]) -> Shape:
    """The query as `shape`; names it does not know are ignored. A name that is given twice is refused."""
    given: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name in given:
            raise _invalid(name, "it is given more than once")
        given[name] = value
    return _shaped(given, shape, strict=False)


async def body(request: Request[Any, Any, Any], shape: type[Shape]) -> Shape:
    """The body as `shape`; names it does not know are ignored, as the cloud does."""
    raw = await request.body()
    if not raw.strip():
        raise Refusal("DCS.4004")
    try:
        decoded = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refusal("DCS.4005", reason=str(error)) from error
    if not isinstance(decoded, dict):
        raise Refusal("DCS.4005", reason="the body is not an object")
    return _shaped({name: value for name, value in decoded.items() if value is not None}, shape, strict=True)


def refused(field: str, reason: str) -> Refusal:
    """What a route raises for a field that is well-formed but cannot be."""
    return _invalid(field, reason)


def _shaped(given: Mapping[str, Any], shape: type[Shape], *, strict: bool) -> Shape:
    try:
        return msgspec.convert(given, shape, strict=strict)
    except msgspec.ValidationError as error:
        said = str(error)
        where = _WHERE.search(said)
        if where:
            raise _invalid(where[1], said[: where.start()]) from error
        missing = re.search(r"missing required field `(.+?)`", said)
        raise _invalid(missing[1] if missing else "request", said) from error


def _invalid(field: str, reason: str) -> Refusal:
    name = re.split(r"[.\[]", field)[0]
    return Refusal(_CODES.get(name, "DCS.4062"), parameter=field, reason=f"{field}: {reason}")
