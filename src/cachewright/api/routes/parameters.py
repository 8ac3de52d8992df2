"""Parameters of routes, and the decorator that reads them.

The signature of a route lists what it needs: ids of the path, `Query[Shape]`, `Body[Shape]`, and services. A route that
is a plain function uses only the database and runs on a thread. A route that is a coroutine function runs on the event
loop. Only `endpoint` distinguishes the two.
"""

import asyncio
import inspect
from collections.abc import Callable, Coroutine, Mapping
from functools import partial, wraps
from typing import Annotated, Any, Generic, TypeAlias, TypeVar, get_args, get_origin, get_type_hints

import msgspec
from litestar import Request
from litestar.di import NamedDependency
from litestar.params import FromPath

from cachewright import errors
from cachewright.api import requests
from cachewright.api.auth.authorization import IDENTITY, THREADS
from cachewright.api.auth.credentials import Authenticator
from cachewright.api.auth.limits import StreamLimit
from cachewright.config import Settings
from cachewright.errors import ApiError
from cachewright.model.identity import Identity
from cachewright.services.audit_log import AuditLog
from cachewright.services.backups import BackupService
from cachewright.services.client_access import ClientAccess
from cachewright.services.diagnosis import DiagnosisService
from cachewright.services.host_moves import HostMoves
from cachewright.services.hosts import HostQueries
from cachewright.services.instance_access import InstanceAccess
from cachewright.services.instance_attributes import InstanceAttributes
from cachewright.services.instance_queries import InstanceQueries
from cachewright.services.instances import InstanceService
from cachewright.services.key_analyses import KeyAnalysisService
from cachewright.services.node_queries import NodeQueries
from cachewright.services.online_migrations import OnlineMigrationService
from cachewright.services.rebuilds import RebuildService
from cachewright.services.resizes import ResizeService
from cachewright.services.restores import RestoreService
from cachewright.services.server_versions import ServerVersions
from cachewright.services.servers import ServerQueries
from cachewright.services.switchovers import SwitchoverService
from cachewright.services.task_records import TaskRecords
from cachewright.services.tasks import TaskService
from cachewright.services.templates import TemplateService
from cachewright.services.tokens import TokenService
from cachewright.services.user_queries import UserQueries
from cachewright.services.webhooks import WebhookService
from cachewright.services.write_logs import WriteLogService
from cachewright.tasks.feed import TaskFeed
from cachewright.threads import RequestThreads

Call: TypeAlias = Request[Any, Any, Any]

ServerSettings: TypeAlias = NamedDependency[Settings]
Authentication: TypeAlias = NamedDependency[Authenticator]
Streams: TypeAlias = NamedDependency[StreamLimit]
Feed: TypeAlias = NamedDependency[TaskFeed]

Creation: TypeAlias = NamedDependency[InstanceService]
Tasks: TypeAlias = NamedDependency[TaskService]
Instances: TypeAlias = NamedDependency[InstanceQueries]
Attributes: TypeAlias = NamedDependency[InstanceAttributes]
Access: TypeAlias = NamedDependency[InstanceAccess]
Analyses: TypeAlias = NamedDependency[KeyAnalysisService]
Connections: TypeAlias = NamedDependency[ClientAccess]
Diagnosis: TypeAlias = NamedDependency[DiagnosisService]
Hosts: TypeAlias = NamedDependency[HostQueries]
Servers: TypeAlias = NamedDependency[ServerQueries]
Moves: TypeAlias = NamedDependency[HostMoves]
Nodes: TypeAlias = NamedDependency[NodeQueries]
Versions: TypeAlias = NamedDependency[ServerVersions]
Records: TypeAlias = NamedDependency[TaskRecords]
Webhooks: TypeAlias = NamedDependency[WebhookService]
Entries: TypeAlias = NamedDependency[AuditLog]
OnlineMigrations: TypeAlias = NamedDependency[OnlineMigrationService]
Rebuilds: TypeAlias = NamedDependency[RebuildService]
Resizes: TypeAlias = NamedDependency[ResizeService]
Restores: TypeAlias = NamedDependency[RestoreService]
WriteLogs: TypeAlias = NamedDependency[WriteLogService]
Switchovers: TypeAlias = NamedDependency[SwitchoverService]
Tokens: TypeAlias = NamedDependency[TokenService]
Users: TypeAlias = NamedDependency[UserQueries]
Backups: TypeAlias = NamedDependency[BackupService]
Templates: TypeAlias = NamedDependency[TemplateService]


class PathFormat(msgspec.Struct, frozen=True):
    """Marks a parameter of the path. `parse` returns its canonical spelling, or raises ApiError."""

    parse: Callable[[str], str]


InstanceId: TypeAlias = Annotated[FromPath[str], PathFormat(requests.instance_id)]
GroupId: TypeAlias = Annotated[FromPath[str], PathFormat(str.lower)]
NodeId: TypeAlias = Annotated[FromPath[str], PathFormat(str.lower)]
AccountId: TypeAlias = Annotated[FromPath[str], PathFormat(str.lower)]
BackupId: TypeAlias = Annotated[FromPath[str], PathFormat(str.lower)]
AnalysisId: TypeAlias = Annotated[FromPath[str], PathFormat(requests.analysis_id)]
TaskId: TypeAlias = Annotated[FromPath[str], PathFormat(requests.task_id)]
TemplateId: TypeAlias = Annotated[FromPath[str], PathFormat(str)]
WebhookId: TypeAlias = Annotated[FromPath[str], PathFormat(requests.webhook_id)]

_READING = {"GET", "HEAD"}

Shape = TypeVar("Shape", bound=msgspec.Struct)
Answer = TypeVar("Answer")


class Query(Generic[Shape]):
    """The query of a request with the shape in the route's signature. The route decides when to validate it."""

    def __init__(self, raw: bytes, shape: type[Shape]) -> None:
        self._raw, self._shape = raw, shape

    def read(self) -> Shape:
        """Parse and validate the query. Raises ApiError DCS.4062."""
        return requests.query(self._raw, self._shape)


class Body(Generic[Shape]):
    """The body of a request with the shape in the route's signature. The route decides when to validate it."""

    def __init__(self, raw: bytes, shape: type[Shape]) -> None:
        self._raw, self._shape = raw, shape

    def read(self) -> Shape:
        """Parse and validate the body. Raises ApiError DCS.4004, DCS.4005, or with the code of the invalid member."""
        return requests.body(self._raw, self._shape)


class OptionalBody(Body[Shape]):
    """A body that may be empty, with any content type."""

    @property
    def given(self) -> bool:
        return bool(self._raw.strip())


def endpoint(route: Callable[..., Any]) -> Callable[..., Coroutine[Any, Any, Any]]:
    """Decorate a route: read its parameters from the request, and run a plain function on a thread, a coroutine
    function on the event loop."""
    shapes, formats = shapes_read(route), _path_formats(route)
    is_async = inspect.iscoroutinefunction(route)

    @wraps(route)
    async def run(**given: Any) -> Any:
        for name, path_format in formats.items():
            given[name] = path_format.parse(given[name])
        request: Call = given["request"]
        for name, (kind, shape) in shapes.items():
            given[name] = kind(request.scope["query_string"] if kind is Query else await request.body(), shape)
        return await (route(**given) if is_async else in_thread(request, partial(route, **given)))

    # The framework supplies the parameters in the signature. It would read query and body itself, so hide these.
    signature = inspect.signature(route)
    remaining = [parameter for name, parameter in signature.parameters.items() if name not in shapes]
    run.__signature__ = signature.replace(parameters=remaining)  # type: ignore[attr-defined]  # inspect reads it
    run.__annotations__ = {name: hint for name, hint in route.__annotations__.items() if name not in shapes}
    return run


def shapes_read(route: Callable[..., Any]) -> Mapping[str, tuple[type, type[msgspec.Struct]]]:
    """Return the parameters that are a query or a body, with their kind and shape."""
    hints = get_type_hints(inspect.unwrap(route))
    return {
        name: (kind, get_args(hint)[0])
        for name, hint in hints.items()
        if isinstance(kind := get_origin(hint), type) and issubclass(kind, Query | Body)
    }


def _path_formats(route: Callable[..., Any]) -> Mapping[str, PathFormat]:
    hints = get_type_hints(route, include_extras=True)
    return {
        name: mark
        for name, hint in hints.items()
        for mark in getattr(hint, "__metadata__", ())
        if isinstance(mark, PathFormat)
    }


async def in_thread(request: Call, act: Callable[[], Answer]) -> Answer:
    """Run a route on a thread. Raises ApiError DCS.4974 if too many requests of the project wait."""
    threads: RequestThreads = request.app.state[THREADS]
    identity: Identity | None = request.scope["state"].get(IDENTITY)
    owner = (identity.project_id or identity.user_id) if identity else ""
    run = threads.read if request.method in _READING else threads.change
    return await run(owner, act)


async def while_connected(request: Call, act: Coroutine[Any, Any, Answer]) -> Answer:
    """Run `act`, and cancel it if the client closes its connection. Then raises ApiError DCS.4975, which the client
    does not receive. Call it after the body has been read."""
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
