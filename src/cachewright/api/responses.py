"""Responses in the shape of the contract: JSON bodies, empty successes, and errors of the error table."""

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
from cachewright.hosts.calls import HostSilent

log = logging.getLogger(__name__)

Shape = TypeVar("Shape")

REQUEST_ID = "request_id"
ERROR_CODE = "error_code"
OPERATION = "operation"
_JSON = "application/json"
RETRY_SECONDS = 5
"""Seconds after which clients should retry while the database is unavailable."""


class ErrorBody(msgspec.Struct, frozen=True):
    """Error response of DCS v2."""

    error_code: str
    error_msg: str
    error_ext_msg: None = None


class IamError(msgspec.Struct, frozen=True):
    code: int
    message: str
    title: str


class IamErrorBody(msgspec.Struct, frozen=True):
    """Error response of IAM v3."""

    error: IamError


def json(body: Shape) -> Response[Shape]:
    """Return a JSON response. The OpenAPI document describes its type."""
    return Response(body, status_code=200, media_type=_JSON)


def ready(encoded: bytes, shape: type[Shape], headers: Mapping[str, str]) -> Response[Shape]:
    """Return a JSON response with a body that is already encoded as `shape`."""
    return cast(Response[Shape], Response(encoded, status_code=200, media_type=_JSON, headers=dict(headers)))


def not_modified(tag: str) -> Response[Any]:
    """Return 304 (RFC 9110, 15.4.5): the client has the current representation."""
    return Response(None, status_code=304, headers={"etag": tag})


def text(body: str) -> Response[str]:
    """Return a plain text, as one operation of the cloud does."""
    return Response(body, status_code=200, media_type="text/plain")


def no_content() -> Response[None]:
    return Response(None, status_code=204)


def error_body(refusal: ApiError, scope: Mapping[str, Any]) -> bytes:
    """Return the error in the shape of the service: IAM for paths below /v3, otherwise DCS."""
    refusal.fields.setdefault("request_id", scope["state"].get(REQUEST_ID, ""))
    if scope["path"].startswith("/v3/"):
        title = HTTPStatus(refusal.row.status).phrase
        return msgspec.json.encode(IamErrorBody(IamError(refusal.row.status, refusal.message, title)))
    return msgspec.json.encode(ErrorBody(refusal.code, refusal.message))


def error_headers(refusal: ApiError) -> dict[str, str]:
    """Return `Retry-After` (RFC 9110, 10.2.3) if the error has a time to retry."""
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


def _database_unavailable(request: Request[Any, Any, Any], error: DatabaseUnavailable) -> Response[bytes]:
    log.warning("request %s: the database is unavailable: %s", request.scope["state"].get(REQUEST_ID), error)
    return _refused(request, ApiError(errors.DATABASE_UNAVAILABLE, retry_after=RETRY_SECONDS))


def _internal(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    log.error("request %s failed", request.scope["state"].get(REQUEST_ID), exc_info=error)
    return _refused(request, ApiError(errors.INTERNAL_ERROR))


def _host_silent(request: Request[Any, Any, Any], error: HostSilent) -> Response[bytes]:
    log.warning("request %s: %s", request.scope["state"].get(REQUEST_ID), error)
    return _refused(request, ApiError(errors.INSTANCE_NOT_RUNNING, reason=f"{error}."))


EXCEPTION_HANDLERS: ExceptionHandlersMap = {
    ApiError: _refused,
    HostSilent: _host_silent,
    DatabaseUnavailable: _database_unavailable,
    HTTPException: _by_framework,
    Exception: _internal,
}
