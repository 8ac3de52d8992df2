"""Watching a task without polling: server-sent events (WHATWG HTML, 9.2), one for each change that a client could see.

Each event is named `progress`, has the progress as its data and the task's revision as its id. The stream ends when the
task has; its last event is named `end`. It ends without one when the server stops.

Before each event, and every two seconds, the caller's rights are checked again. Where the caller may not read on (the
user or key is disabled, the token has ended, the role is removed), the last event is named `refused`; its data is the
body that a new request would be answered with.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import msgspec
from litestar import Response
from litestar.response import ServerSentEvent, ServerSentEventMessage

from cachewright.api.auth.rights import RightsCheck
from cachewright.api.responses import ErrorBody
from cachewright.api.schemas import instance_state as live_wire
from cachewright.api.schemas import tasks as schemas
from cachewright.errors import ApiError
from cachewright.model.tasks import ENDED, Task
from cachewright.monitoring.snapshots import InstanceSnapshot
from cachewright.tasks.feed import FeedClosed, TaskFeed

_MEDIA_TYPE = "text/event-stream"
_LOOK_SECONDS = 0.5
_CHECK_SECONDS = 2.0
_QUIET_SECONDS = 15.0
"""After which a comment is sent, so that neither side takes the connection for dead."""


def wanted(accept: str) -> bool:
    return any(part.partition(";")[0].strip().lower() == _MEDIA_TYPE for part in accept.split(","))


def stream(feed: TaskFeed, task_id: str, look: Callable[[], Task], rights: RightsCheck) -> Response[Any]:
    """The task as it is now and every change of it. `look` reads it; it may block."""
    return ServerSentEvent(_events(feed, task_id, look, rights))


async def _events(
    feed: TaskFeed, task_id: str, look: Callable[[], Task], rights: RightsCheck
) -> AsyncIterator[ServerSentEventMessage]:
    clock = asyncio.get_running_loop().time
    with feed.watching(task_id) as watch, suppress(FeedClosed):
        now: Task | None = await asyncio.to_thread(look)  # read once it is watched, so that no change falls between
        said, said_at = b"", clock()
        while True:
            if (refusal := await rights()) is not None:
                yield _refused(refusal)
                return
            if now is None:
                if clock() - said_at >= _QUIET_SECONDS:
                    said_at = clock()
                    yield ServerSentEventMessage(data=None, comment="still here")
            elif now.status in ENDED:
                yield _event("end", now, msgspec.json.encode(schemas.progress(now)))
                return
            elif (progress := msgspec.json.encode(schemas.progress(now))) != said:
                said, said_at = progress, clock()
                yield _event("progress", now, progress)
            now = await watch.changed(_CHECK_SECONDS)


def instance_stream(
    feed: TaskFeed, instance_id: str, look: Callable[[], Awaitable[InstanceSnapshot | None]], rights: RightsCheck
) -> Response[Any]:
    """The instance as it is now, and again whenever that has changed."""
    return ServerSentEvent(_looks(feed, instance_id, look, rights))


async def _looks(
    feed: TaskFeed, instance_id: str, look: Callable[[], Awaitable[InstanceSnapshot | None]], rights: RightsCheck
) -> AsyncIterator[ServerSentEventMessage]:
    clock = asyncio.get_running_loop().time
    said, said_at = b"", clock()
    with feed.watching(instance_id) as watch, suppress(FeedClosed):
        while (seen := await look()) is not None:
            if (refusal := await rights()) is not None:
                yield _refused(refusal)
                return
            now = msgspec.json.encode(live_wire.instance_state(seen))
            if now != said:
                said, said_at = now, clock()
                yield ServerSentEventMessage(event="state", data=now)
            elif clock() - said_at > _QUIET_SECONDS:
                said_at = clock()
                yield ServerSentEventMessage(data=None, comment="still here")
            await asyncio.sleep(_LOOK_SECONDS)  # a task changes more often than a reader can follow
            if seen.task is None:
                await watch.changed(_LOOK_SECONDS)
            else:
                watch.check()
        yield ServerSentEventMessage(event="end", data=b"{}")


def _event(name: str, task: Task, progress: bytes) -> ServerSentEventMessage:
    return ServerSentEventMessage(event=name, id=task.revision, data=progress)


def _refused(refusal: ApiError) -> ServerSentEventMessage:
    return ServerSentEventMessage(event="refused", data=msgspec.json.encode(ErrorBody(refusal.code, refusal.message)))
