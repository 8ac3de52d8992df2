"""Protection of the console's session from requests of other sites (CSRF)."""

import hashlib
import hmac
from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie
from typing import Any

from cachewright import errors
from cachewright.errors import ApiError

SESSION_COOKIE = "cachewright_session"
_CSRF_HEADER = b"x-csrf-token"
_SAFE = {"GET", "HEAD"}
_OWN = {b"same-origin", b"none"}
"""Values of Sec-Fetch-Site for requests of the page itself, or typed by the user."""


def session_token(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """Return the token in the session's cookie, or None if it is missing or the request has several Cookie headers."""
    cookies = [value for name, value in headers if name.lower() == b"cookie"]
    if len(cookies) != 1:
        return None
    cookie: SimpleCookie = SimpleCookie()
    try:
        cookie.load(cookies[0].decode("latin-1"))
    except CookieError:
        return None
    return cookie[SESSION_COOKIE].value or None if SESSION_COOKIE in cookie else None


def csrf_token(token: str) -> str:
    """Return the value that the console sends with each change. It does not reveal the session token."""
    return hashlib.sha256(f"csrf {token}".encode()).hexdigest()


def require_own(method: str, headers: Iterable[tuple[bytes, bytes]], token: str) -> None:
    """Raise ApiError DCS.4969 if a request with the session's cookie is not the console's own."""
    lower_case_headers = [(name.lower(), value) for name, value in headers]
    _require_same_origin(lower_case_headers)
    if method in _SAFE:
        return
    given = next((value for name, value in lower_case_headers if name == _CSRF_HEADER), b"")
    if not hmac.compare_digest(given, csrf_token(token).encode()):
        raise ApiError(errors.CROSS_SITE_REQUEST)


def require_same_origin(scope: Any) -> None:
    """Raise ApiError DCS.4969 if the browser reports that another site makes the request."""
    _require_same_origin([(name.lower(), value) for name, value in scope["headers"]])


def _require_same_origin(headers: Iterable[tuple[bytes, bytes]]) -> None:
    if any(name == b"sec-fetch-site" and value not in _OWN for name, value in headers):
        raise ApiError(errors.CROSS_SITE_REQUEST)
