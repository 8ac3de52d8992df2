"""Files of the console: one page, its style and its scripts. They contain no data and need no authentication."""

import hashlib
import mimetypes
from importlib.resources import files

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler

from cachewright.api import responses
from cachewright.api.auth.permissions import OPEN
from cachewright.api.routes.parameters import Call
from cachewright.api.security_headers import PAGE

_PAGE = "index.html"
_HEADERS = PAGE | {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "cache-control": "no-cache",
}


def _read() -> dict[str, bytes]:
    """Return the contents of the files by path."""
    assets = {asset.name: asset.read_bytes() for asset in files("cachewright.api.console").joinpath("assets").iterdir()}
    page = assets.pop(_PAGE)
    return {"/console": page} | {f"/console/{name}": content for name, content in sorted(assets.items())}


_CONTENTS = _read()
PATHS = frozenset(_CONTENTS)


def _file(path: str, content: bytes) -> HTTPRouteHandler:
    kind = mimetypes.guess_type(path)[0] or "text/html"
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'

    @get(path, sync_to_thread=False, opt=OPEN)
    def show_console(request: Call) -> Response[bytes]:
        if request.headers.get("if-none-match") == tag:
            return responses.not_modified(tag)
        return Response(content, media_type=kind, headers=_HEADERS | {"etag": tag})

    return show_console


ROUTES = [_file(path, content) for path, content in _CONTENTS.items()]
