"""What routes take, as the framework wants it written, and how they run."""

import asyncio
import inspect
from collections.abc import Callable, Coroutine, Mapping
from functools import partial, wraps
from typing import Any, Generic, TypeAlias, TypeVar, get_args, get_origin, get_type_hints

import msgspec
import sqlalchemy as sa
from litestar import Request
from litestar.di import NamedDependency
from litestar.params import FromPath

from cachewright import errors
from cachewright.api import requests
from cachewright.api.auth.authorization import IDENTITY, THREADS
from cachewright.api.auth.credentials import Authenticator
from cachewright.api.auth.limits import StreamLimit
from cachewright.errors import ApiError
from cachewright.model.identity import Identity
from cachewright.model.instances import Instance
from cachewright.services.instances import InstanceService
from cachewright.services.tokens import TokenService
from cachewright.store import instances
from cachewright.threads import RequestThreads

Call: TypeAlias = Request[Any, Any, Any]
Plane: TypeAlias = NamedDependency[InstanceService]
Desk: TypeAlias = NamedDependency[TokenService]
Authentication: TypeAlias = NamedDependency[Authenticator]
Streams: TypeAlias = NamedDependency[StreamLimit]
PathId: TypeAlias = FromPath[str]

_READING = {"GET", "HEAD"}

Shape = TypeVar("Shape", bound=msgspec.Struct)
Answer = TypeVar("Answer")


class Query(Generic[Shape]):
    """The query of a request, in the shape that its route names. The route reads it when it is its turn."""

    def __init__(self, raw: bytes, shape: type[Shape]) -> None:
        self._raw, self._shape = raw, shape

    def read(self) -> Shape:
        """ApiError DCS.4062 where it is not of that shape."""
        return requests.query(self._raw, self._shape)


class Body(Generic[Shape]):
    """The body of a request, in the shape that its route names. The route reads it when it is its turn."""

    def __init__(self, raw: bytes, shape: type[Shape]) -> None:
        self._raw, self._shape = raw, shape

    def read(self) -> Shape:
        """ApiError DCS.4004, DCS.4005, or with the code of the member that is not of that shape."""
        return requests.body(self._raw, self._shape)


class OptionalBody(Body[Shape]):
    """A body that may be empty, whatever its content type says."""

    @property
    def given(self) -> bool:
        return bool(self._raw.strip())


def in_thread(route: Callable[..., Answer]) -> Callable[..., Coroutine[Any, Any, Answer]]:
    """Routes read and write the database, which blocks. What they read of the request is filled in."""

    @wraps(route)
    async def threaded(**given: Any) -> Answer:
        return await run_in_thread(given["request"], partial(route, **given))

    return reading(threaded)


async def run_in_thread(request: Call, act: Callable[[], Answer]) -> Answer:
    """Runs database work of a request. ApiError DCS.4974 where too many requests of its project wait for theirs."""
    threads: RequestThreads = request.app.state[THREADS]
    identity: Identity | None = request.scope["state"].get(IDENTITY)
    owner = (identity.project_id or identity.user_id) if identity else ""
    run = threads.read if request.method in _READING else threads.change
    return await run(owner, act)


async def while_connected(request: Call, act: Coroutine[Any, Any, Answer]) -> Answer:
    """Runs `act` until its end, or until the client has closed its connection: then `act` is cancelled. ApiError
    DCS.4975, which the client no longer receives, in that case. Call it after the body has been read."""
    acting = asyncio.create_task(act)
    leaving = asyncio.create_task(_disconnected(request))
    try:
        await asyncio.wait({acting, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not acting.done():
            raise ApiError(errors.CLIENT_CLOSED_CONNECTION)
        return await acting
    finally:
        acting.cancel()
        leaving.cancel()
        await asyncio.gather(acting, leaving, return_exceptions=True)


async def _disconnected(request: Call) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def reading(route: Callable[..., Coroutine[Any, Any, Answer]]) -> Callable[..., Coroutine[Any, Any, Answer]]:
    """A parameter `Query[...]` or `Body[...]` is filled in here, and is unknown to the framework."""
    shapes = shapes_read(route)

    @wraps(route)
    async def filled(**given: Any) -> Answer:
        for name, (kind, shape) in shapes.items():
            request = given["request"]
            given[name] = kind(request.scope["query_string"] if kind is Query else await request.body(), shape)
        return await route(**given)

    signature = inspect.signature(route)
    left = [parameter for name, parameter in signature.parameters.items() if name not in shapes]
    filled.__signature__ = signature.replace(parameters=left)  # type: ignore[attr-defined]  # inspect reads it
    filled.__annotations__ = {name: hint for name, hint in route.__annotations__.items() if name not in shapes}
    return filled


def shapes_read(route: Callable[..., Any]) -> Mapping[str, tuple[type, type[msgspec.Struct]]]:
    """Parameters that are a query or a body, with the shape that is read from it."""
    hints = get_type_hints(inspect.unwrap(route))
    return {
        name: (kind, get_args(hint)[0])
        for name, hint in hints.items()
        if isinstance(kind := get_origin(hint), type) and issubclass(kind, Query | Body)
    }


def instance_of(connection: sa.Connection, request: Call, instance_id: str) -> Instance:
    """The caller's instance of this id. ApiError DCS.4061 where it is none, DCS.3022 where there is no such
    instance."""
    known = requests.instance_id(instance_id)
    instance = instances.get(connection, requests.principal(request).project_id, known)
    if instance is None:
        raise ApiError(errors.INSTANCE_NOT_FOUND)
    return instance
