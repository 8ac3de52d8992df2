"""Operations of the cloud that are not served: each is refused by its name, before the router's own 404."""

from collections.abc import Iterable

from litestar.enums import HttpMethod
from litestar.handlers import HTTPRouteHandler

from cachewright import errors
from cachewright.api.auth.permissions import OPEN
from cachewright.api.openapi.catalog import OPERATIONS, Operation
from cachewright.errors import ApiError


def refusals(served: Iterable[HTTPRouteHandler]) -> list[HTTPRouteHandler]:
    """A route for every operation that none of `served` is."""
    there = {(method, described_path(handler)) for handler in served for method in handler.http_methods}
    return [_refusing(operation) for place, operation in OPERATIONS.items() if place not in there]


def described_path(handler: HTTPRouteHandler) -> str:
    """As the catalogue writes it: without the types of the framework."""
    (path,) = handler.paths
    return path.replace(":str}", "}")


def _refusing(operation: Operation) -> HTTPRouteHandler:
    def refuse() -> None:
        raise ApiError(errors.OPERATION_NOT_SERVED, operation=operation.name)

    path = operation.path.replace("}", ":str}")
    return HTTPRouteHandler(
        path, http_method=HttpMethod(operation.method), status_code=200, sync_to_thread=False, opt=OPEN
    )(refuse)
