"""Routes for operations of the cloud that are not supported. Their errors contain the operation's name, unlike the
router's 404."""

from collections.abc import Iterable

from litestar.enums import HttpMethod
from litestar.handlers import HTTPRouteHandler

from cachewright import errors
from cachewright.api.auth.permissions import OPEN
from cachewright.api.openapi.catalog import OPERATIONS, Operation
from cachewright.errors import ApiError


def refusals(served: Iterable[HTTPRouteHandler]) -> list[HTTPRouteHandler]:
    """Return a route for every operation that is not in `served`."""
    there = {(method, described_path(handler)) for handler in served for method in handler.http_methods}
    return [_refusing(operation) for place, operation in OPERATIONS.items() if place not in there]


def described_path(handler: HTTPRouteHandler) -> str:
    """Return the route's path as in the catalog, without the framework's types."""
    (path,) = handler.paths
    return path.replace(":str}", "}")


def _refusing(operation: Operation) -> HTTPRouteHandler:
    def refuse() -> None:
        raise ApiError(errors.OPERATION_NOT_SERVED, operation=operation.name)

    path = operation.path.replace("}", ":str}")
    return HTTPRouteHandler(
        path, http_method=HttpMethod(operation.method), status_code=200, sync_to_thread=False, opt=OPEN
    )(refuse)
