"""Parse and validate path ids, query parameters and JSON bodies. Errors name the offending field."""

import re
from datetime import UTC, datetime
from typing import Any, TypeVar
from urllib.parse import unquote_to_bytes

import msgspec
from litestar import Request
from litestar.types import HTTPScope

from cachewright import errors
from cachewright.api.auth.authorization import IDENTITY
from cachewright.api.schemas.forms import FORMS
from cachewright.api.schemas.tasks import ListQuery
from cachewright.errors import ERRORS, ApiError
from cachewright.model.identity import Identity, Principal

Shape = TypeVar("Shape", bound=msgspec.Struct)

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)
_TASK_ID = re.compile(r"[0-9a-f]{32}")
_WHERE = re.compile(r" - at `\$\.?(.*)`$")
_MOMENT = "%Y%m%d%H%M%S"
_A_SECOND = 1000
_DEEPEST = 32
_MOST_VALUES = 100_000
_BROKEN_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")

_CODES = {
    "name": errors.INVALID_NAME,
    "engine": errors.INVALID_ENGINE,
    "engine_version": errors.INVALID_ENGINE_VERSION,
    "description": errors.INVALID_DESCRIPTION,
    "capacity": errors.INVALID_CAPACITY,
    "new_capacity": errors.INVALID_CAPACITY,
    "vpc_id": errors.INVALID_VPC_ID,
    "security_group_id": errors.INVALID_SECURITY_GROUP_ID,
    "subnet_id": errors.INVALID_SUBNET_ID,
    "instance_backup_policy": errors.INVALID_BACKUP_POLICY,
    "remark": errors.INVALID_REMARK,
    "maintain_begin": errors.INVALID_MAINTENANCE_WINDOW,
    "maintain_end": errors.INVALID_MAINTENANCE_WINDOW,
    "enable_ssl": errors.INVALID_ENABLE_SSL,
    "no_password_access": errors.INVALID_NO_PASSWORD_ACCESS,
    "access_user": errors.INVALID_ACCESS_USER,
    "password": errors.INVALID_PASSWORD,
    "old_password": errors.INVALID_PASSWORD,
    "new_password": errors.INVALID_PASSWORD,
    "account_password": errors.INVALID_PASSWORD,
    "spec_code": errors.INVALID_SPEC_CODE,
    "node_list": errors.INVALID_NODE_LIST,
    "available_zones": errors.INVALID_AVAILABLE_ZONES,
    "instances": errors.INVALID_INSTANCES,
    "slave_priority_weight": errors.INVALID_PRIORITY,
    "redis_config": errors.INVALID_CONFIGURATION,
}
"""Error codes for invalid fields of bodies. Other fields have DCS.4062."""


def identity(request: Request[Any, Any, Any]) -> Identity:
    caller: Identity = request.scope["state"][IDENTITY]
    return caller


def principal(request: Request[Any, Any, Any]) -> Principal:
    """Return the caller of a route below a project. The middleware passes only users with a role in the project."""
    caller = identity(request)
    return Principal(project_id=project_id(caller), user_id=caller.user_id, user_name=caller.user_name)


def project_id(caller: Identity) -> str:
    """Return the project of a request below a project. Raises LookupError for other requests."""
    if caller.project_id is None:
        raise LookupError("the request concerns no project")
    return caller.project_id


def header(scope: HTTPScope, name: bytes) -> str:
    """Return the first header of this name, which is in lower case. Empty if it is missing."""
    for header_name, value in scope["headers"]:
        if header_name == name:
            return value.decode("latin-1")
    return ""


def instance_id(text: str) -> str:
    """Return the normalized UUID. Raises ApiError DCS.4061 if the text is not a UUID."""
    if not _UUID.fullmatch(text):
        raise ApiError(errors.INVALID_INSTANCE_ID)
    return text.lower()


def task_id(text: str) -> str:
    """Return the normalized id. Raises ApiError DCS.4070 unless it has 32 hexadecimal digits, with or without a UUID's
    dashes."""
    plain = text.replace("-", "").lower() if _UUID.fullmatch(text) else text.lower()
    if not _TASK_ID.fullmatch(plain):
        raise ApiError(errors.INVALID_TASK_ID)
    return plain


def analysis_id(text: str) -> str:
    """Return the normalized id, without a UUID's dashes. One of another form names no analysis."""
    return text.replace("-", "").lower()


def webhook_id(text: str) -> str:
    """Return the id. Raises ApiError DCS.4967 unless it has 32 hexadecimal digits, like all ids of webhooks."""
    if not _TASK_ID.fullmatch(text):
        raise ApiError(errors.WEBHOOK_NOT_FOUND)
    return text


def query(raw: bytes, shape: type[Shape]) -> Shape:
    """Parse a query. Unknown names are ignored, and an empty value counts as missing. Raises ApiError DCS.4062."""
    given = _query_values(raw)
    try:
        read = msgspec.convert(given, shape, strict=False)
    except msgspec.ValidationError as error:
        raise _shape_error(error, {}) from error
    for name in given.keys() & set(shape.__struct_fields__):
        if getattr(read, name) is None:  # the conversion turns the text "null" into None
            raise _field_error(name, "it is null", {})
    return read


def body(raw: bytes, shape: type[Shape]) -> Shape:
    """Parse a body. Unknown names are ignored as on the cloud, unless the shape forbids them. A null counts as missing,
    but its name must be valid. Raises ApiError DCS.4004, DCS.4005, or the code of the invalid member."""
    if not raw.strip():
        raise ApiError(errors.EMPTY_BODY)
    # Each value, however short, takes about 60 bytes of memory. Commas are an estimate of the number of values.
    if raw.count(b",") + raw.count(b"[") + raw.count(b"{") > _MOST_VALUES:
        raise ApiError(errors.INVALID_JSON, reason=f"it has more than {_MOST_VALUES} values")
    try:
        decoded = msgspec.json.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ApiError(errors.INVALID_JSON, reason=str(error)) from error
    if not isinstance(decoded, dict):
        raise ApiError(errors.INVALID_JSON, reason="it is not an object")
    if shape.__struct_config__.forbid_unknown_fields:
        for name in decoded.keys() - set(shape.__struct_encode_fields__):
            raise _field_error(name, "it is not known here", _CODES)
    try:
        return msgspec.convert(_without_nulls(decoded), shape)
    except msgspec.ValidationError as error:
        raise _shape_error(error, _CODES) from error


def period(query: ListQuery) -> tuple[int | None, int | None]:
    """Return the first and the last epoch millisecond of a list. Raises ApiError DCS.4025 if the end is before the
    start."""
    start = _epoch_milliseconds("start_time", query.start_time) or _epoch_milliseconds("begin_time", query.begin_time)
    end = _epoch_milliseconds("end_time", query.end_time)
    if start is not None and end is not None and end < start:
        raise ApiError(errors.INVALID_TIME_RANGE)
    return start, None if end is None else end + _A_SECOND - 1


def refused(field: str, reason: str) -> ApiError:
    """Return the error for a field with an invalid value in a well-formed body."""
    return _field_error(field, reason, _CODES)


def second(field: str, text: str) -> int:
    """Return the epoch seconds of a time such as `2026-11-27T08:30:00Z`."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise refused(field, "it is not a time such as 2026-11-27T08:30:00Z") from error
    if found.tzinfo is None or found.microsecond:
        raise refused(field, "it needs a time zone, and no parts of a second")
    return int(found.timestamp())


def _epoch_milliseconds(field: str, text: str | None) -> int | None:
    """Return the epoch milliseconds of `yyyyMMddHHmmss`, UTC."""
    if text is None:
        return None
    try:
        return int(datetime.strptime(text, _MOMENT).replace(tzinfo=UTC).timestamp() * 1000)
    except ValueError as error:
        raise refused(field, "it is not yyyyMMddHHmmss") from error


def _query_values(raw: bytes) -> dict[str, str]:
    given: dict[str, str] = {}
    for part in filter(None, raw.split(b"&")):
        key, _, value = part.replace(b"+", b" ").partition(b"=")
        try:
            name, text = unquote_to_bytes(key).decode(), unquote_to_bytes(value).decode()
        except UnicodeDecodeError as error:
            raise _field_error(key.decode("ascii", "replace"), "it is not UTF-8", {}) from error
        if _BROKEN_ESCAPE.search(part):
            raise _field_error(name, "a percent sign is followed by two hexadecimal digits", {})
        if not name:
            raise _field_error("query", "a parameter has no name", {})
        if "\0" in text:
            raise _field_error(name, "it holds a null character", {})
        if name in given:
            raise _field_error(name, "it is given more than once", {})
        given[name] = text
    return {name: text for name, text in given.items() if text}


def _without_nulls(decoded: Any, depth: int = 1) -> Any:
    """Remove members that are null, at every level. Raises ApiError DCS.4005 if the body is nested deeper than any body
    of the contract."""
    if not isinstance(decoded, dict | list):
        return decoded
    if depth > _DEEPEST:
        raise ApiError(errors.INVALID_JSON, reason=f"it is nested deeper than {_DEEPEST} levels")
    if isinstance(decoded, dict):
        return {name: _without_nulls(value, depth + 1) for name, value in decoded.items() if value is not None}
    return [_without_nulls(item, depth + 1) for item in decoded]


def _shape_error(error: msgspec.ValidationError, codes: dict[str, str]) -> ApiError:
    """Return the error for a value of the wrong shape. msgspec's message ends with the member's name, but for a missing
    member it contains the name."""
    message = str(error)
    where = _WHERE.search(message)
    reason = message[: where.start()] if where else message
    missing = re.search(r"missing required field `(.+?)`", reason)
    if missing:
        prefix = f"{where[1]}." if where and where[1] else ""
        return _field_error(prefix + missing[1], "it is missing", codes)
    form = next((form for pattern, form in FORMS.items() if reason.endswith(f"matching regex {pattern!r}")), "")
    return _field_error(where[1] if where else "request", form or reason, codes)


def _field_error(field: str, reason: str, codes: dict[str, str]) -> ApiError:
    """Return the error for a field. Its message names the field, either in the text of its row or before the reason."""
    code = codes.get(re.split(r"[.\[]", field)[0], errors.INVALID_PARAMETER)
    named = ERRORS[code].message.startswith((f"{field} ", "Parameter {parameter}"))
    return ApiError(code, parameter=field, reason=reason if named else f"{field}: {reason}")
