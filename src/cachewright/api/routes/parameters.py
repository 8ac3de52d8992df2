"""What routes take, as the framework wants it written, and how they run."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, TypeAlias, TypeVar

from litestar import Request
from litestar.di import NamedDependency
from litestar.params import FromPath, RawBody

from cachewright.operations.plane import ControlPlane

Call: TypeAlias = Request[Any, Any, Any]
Plane: TypeAlias = NamedDependency[ControlPlane]
PathId: TypeAlias = FromPath[str]
Body: TypeAlias = RawBody

Answer = TypeVar("Answer")


def in_thread(route: Callable[..., Answer]) -> Callable[..., Coroutine[Any, Any, Answer]]:
    """Routes read and write the database, which blocks."""

    @wraps(route)
    async def threaded(**given: Any) -> Answer:
        return await asyncio.to_thread(route, **given)

    return threaded
