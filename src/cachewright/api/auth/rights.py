"""Check that the caller of an event stream may still read it."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from litestar import Request

from cachewright.api.auth.authorization import IDENTITY
from cachewright.api.auth.credentials import Authenticator
from cachewright.api.auth.permissions import OPTION, Action, require
from cachewright.errors import ApiError
from cachewright.model.identity import Identity

RightsCheck: TypeAlias = Callable[[], Awaitable[ApiError | None]]
"""Returns the error if the caller may no longer read, otherwise None. Raises DatabaseUnavailable."""


def rights_check(authenticator: Authenticator, request: Request[Any, Any, Any]) -> RightsCheck:
    """Return a function that checks credential, user, role and action of this request again. It is cheap, because the
    results of queries are cached until the database changes."""
    identity: Identity = request.scope["state"][IDENTITY]
    action: Action = request.scope["route_handler"].opt[OPTION]
    headers = list(request.scope["headers"])

    async def check() -> ApiError | None:
        try:
            require(await authenticator.identify_again(headers, identity.project_id), action)
        except ApiError as refusal:
            return refusal
        return None

    return check
