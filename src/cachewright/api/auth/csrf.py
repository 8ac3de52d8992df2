"""What distinguishes the console's own requests from those that another site has a browser make."""

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
"""What a browser says of a request by the page itself, or typed by its user."""


def session_token(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """What is in the session's cookie; None where there is none, or more than one."""
    found = [value for name, value in headers if name.lower() == b"cookie"]
    if len(found) != 1:
        return None
    cookie: SimpleCookie = SimpleCookie()
    try:
        cookie.load(found[0].decode("latin-1"))
    except CookieError:
        return None
    return cookie[SESSION_COOKIE].value or None if SESSION_COOKIE in cookie else None


def csrf_token(token: str) -> str:
    """What the console sends with each change; it gives the token itself not away."""
    return hashlib.sha256(f"csrf {token}".encode()).hexdigest()


def require_own(method: str, headers: Iterable[tuple[bytes, bytes]], token: str) -> None:
    """ApiError DCS.4969 where a request with the session's cookie is not the console's own."""
    known = [(name.lower(), value) for name, value in headers]
    _require_same_origin(known)
    if method in _SAFE:
        return
    given = next((value for name, value in known if name == _CSRF_HEADER), b"")
    if not hmac.compare_digest(given, csrf_token(token).encode()):
        raise ApiError(errors.CROSS_SITE_REQUEST)


def require_same_origin(scope: Any) -> None:
    """ApiError DCS.4969 where the browser says that another site asks."""
    _require_same_origin([(name.lower(), value) for name, value in scope["headers"]])


def _require_same_origin(headers: Iterable[tuple[bytes, bytes]]) -> None:
    if any(name == b"sec-fetch-site" and value not in _OWN for name, value in headers):
        raise ApiError(errors.CROSS_SITE_REQUEST)
