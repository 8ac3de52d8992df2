"""The description of the API as JSON and as an HTML page. Each is created at its first request."""

import functools
import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined
from litestar import Response, get
from litestar.handlers import HTTPRouteHandler
from markupsafe import Markup, escape

from cachewright.api.auth.permissions import OPEN
from cachewright.api.security_headers import PAGE

_HEADERS = PAGE | {
    "content-security-policy": (
        "default-src 'none'; style-src 'unsafe-inline'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
    )
}


def pages(describe: Callable[[], Mapping[str, Any]]) -> list[HTTPRouteHandler]:
    """:param describe: makes the description, as JSON-compatible values."""
    document = functools.cache(lambda: msgspec.json.encode(describe()))
    page = functools.cache(lambda: _render(describe()))

    @get("/openapi.json", sync_to_thread=True, opt=OPEN)
    def show_description() -> Response[bytes]:
        return Response(document(), media_type="application/json")

    @get("/docs", sync_to_thread=True, opt=OPEN)
    def show_page() -> Response[bytes]:
        return Response(page(), media_type="text/html", headers=_HEADERS)

    return [show_description, show_page]


def _render(description: Mapping[str, Any]) -> bytes:
    loader = PackageLoader("cachewright.api")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["pretty"] = lambda value: msgspec.json.format(msgspec.json.encode(value)).decode()
    environment.filters["words"] = _with_code
    template = environment.get_template("docs.html")
    return template.render(api=description, operations=_operations(description)).encode()


def _with_code(text: str) -> Markup:
    """Return the text as HTML, with code for backticks."""
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704  # escaped in the same line


def _operations(description: Mapping[str, Any]) -> Mapping[str, list[Mapping[str, Any]]]:
    """Return the operations, each with method and path, by family and in the order of the families."""
    by_family: dict[str, list[Mapping[str, Any]]] = {tag["name"]: [] for tag in description["tags"]}
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            by_family[operation["tags"][0]].append({**operation, "method": method.upper(), "path": path})
    return by_family
