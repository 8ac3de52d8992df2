"""URL by which clients reach the server, for links in responses."""

import re

from litestar.types import HTTPScope

from cachewright.api.requests import header
from cachewright.config import Listen

_HOST = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9.])?|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")


def public_url(scope: HTTPScope, configured: str | None) -> str:
    """Return the configured URL; else a URL with the request's Host header if that is `HOST` or `HOST:PORT`; else one
    with the address that received the request. It has no trailing slash."""
    if configured:
        return configured
    host = header(scope, b"host")
    if not _HOST.fullmatch(host):
        name, port = scope["server"] or ("localhost", None)
        host = Listen(name, port).address if port else name
    return f"{scope['scheme']}://{host}"
