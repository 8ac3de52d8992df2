"""Answers in the contract's shape: JSON bodies, empty successes, and errors from the one table."""

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, TypeVar, cast

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException, MethodNotAllowedException, NotFoundException
from litestar.types import ExceptionHandlersMap

from cachewright import errors
from cachewright.errors import ApiError, DatabaseUnavailable

log = logging.getLogger(__name__)

Shape = TypeVar("Shape")

REQUEST_ID = "request_id"
ERROR_CODE = "error_code"
OPERATION = "operation"
_JSON = "application/json"
RETRY_SECONDS = 5
"""When to ask again after a refusal for want of room."""


class ErrorBody(msgspec.Struct, frozen=True):
    """Every documented answer of DCS v2 that is not a success."""

    error_code: str
    error_msg: str
    error_ext_msg: None = None


class IamError(msgspec.Struct, frozen=True):
    code: int
    message: str
    title: str


class IamErrorBody(msgspec.Struct, frozen=True):
    """Every answer of IAM v3 that is not a success."""

    error: IamError


def json(body: Shape) -> Response[Shape]:
    """Its type says what is answered: the description of the API is read from it."""
    return Response(body, status_code=200, media_type=_JSON)


def ready(encoded: bytes, shape: type[Shape]) -> Response[Shape]:
    """The same of a body that is JSON already; it must be that of a `shape`."""
    return cast(Response[Shape], Response(encoded, status_code=200, media_type=_JSON))


def not_modified(tag: str) -> Response[Any]:
    """RFC 9110, 15.4.5: what the caller has is what there is."""
    return Response(None, status_code=304, headers={"etag": tag})


def no_content() -> Response[None]:
    return Response(None, status_code=204)


def error_body(refusal: ApiError, scope: Mapping[str, Any]) -> bytes:
    """In the shape of the service that was asked: DCS, or IAM below /v3."""
    refusal.fields.setdefault("request_id", scope["state"].get(REQUEST_ID, ""))
    if scope["path"].startswith("/v3/"):
        title = HTTPStatus(refusal.row.status).phrase
        return msgspec.json.encode(IamErrorBody(IamError(refusal.row.status, refusal.message, title)))
    return msgspec.json.encode(ErrorBody(refusal.code, refusal.message))


def error_headers(refusal: ApiError) -> dict[str, str]:
    """RFC 9110, 10.2.3, where the refusal knows when to ask again."""
    return {"retry-after": str(refusal.fields["retry_after"])} if "retry_after" in refusal.fields else {}


def _refused(request: Request[Any, Any, Any], refusal: ApiError) -> Response[bytes]:
    request.scope["state"][ERROR_CODE] = refusal.code
    return Response(
        error_body(refusal, request.scope),
        status_code=refusal.row.status,
        media_type=_JSON,
        headers=error_headers(refusal),
    )


def _by_framework(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    if isinstance(error, NotFoundException):
        return _refused(request, ApiError(errors.URL_NOT_FOUND))
    if isinstance(error, MethodNotAllowedException):
        answer = _refused(request, ApiError(errors.METHOD_NOT_ALLOWED))
        allowed = (error.headers or {}).get("allow", "").split(", ")
        answer.headers["allow"] = ", ".join(method for method in allowed if method != "OPTIONS")
        return answer
    if error.status_code < 500:
        return _refused(request, ApiError(errors.INVALID_PARAMETER, parameter="request", reason=error.detail))
    return _internal(request, error)


def _unwritten(request: Request[Any, Any, Any], error: DatabaseUnavailable) -> Response[bytes]:
    log.warning("request %s: database unavailable: %s", request.scope["state"].get(REQUEST_ID), error)
    return _refused(request, ApiError(errors.DATABASE_UNAVAILABLE, retry_after=RETRY_SECONDS))


def _internal(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    log.error("request %s failed", request.scope["state"].get(REQUEST_ID), exc_info=error)
    return _refused(request, ApiError(errors.INTERNAL_ERROR))


EXCEPTION_HANDLERS: ExceptionHandlersMap = {
    ApiError: _refused,
    DatabaseUnavailable: _unwritten,
    HTTPException: _by_framework,
    Exception: _internal,
}
