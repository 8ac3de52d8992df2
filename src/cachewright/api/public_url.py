"""The URL that clients reach the server by, for links in responses."""

import re

from litestar.types import HTTPScope

from cachewright.api.requests import header
from cachewright.config import Listen

_HOST = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9.])?|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")


def public_url(scope: HTTPScope, configured: str | None) -> str:
    """The configured URL. Without one, what the request names as its host, if that is `HOST` or `HOST:PORT`; else the
    address that the request came in at. Without a slash at the end."""
    if configured:
        return configured
    host = header(scope, b"host")
    if not _HOST.fullmatch(host):
        name, port = scope["server"] or ("localhost", None)
        host = Listen(name, port).address if port else name
    return f"{scope['scheme']}://{host}"
