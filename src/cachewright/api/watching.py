"""Watching a task without polling: server-sent events (WHATWG HTML, 9.2), one for each change that a client could see.

Each event is named `progress`, has the progress as its data and the task's revision as its id. The stream ends when the
task has; its last event is named `end`. It ends without one when the server stops.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import msgspec
from litestar import Response
from litestar.response import ServerSentEvent, ServerSentEventMessage

from cachewright.api.wire import live as live_wire
from cachewright.api.wire import tasks as wire
from cachewright.operations.live import Live
from cachewright.store.records import ENDED, Task
from cachewright.tasks.feed import Feed, FeedClosed

_MEDIA_TYPE = "text/event-stream"
_LOOK_SECONDS = 0.5
_QUIET_SECONDS = 15.0
"""After which a comment is sent, so that neither side takes the connection for dead."""


def wanted(accept: str) -> bool:
    return any(part.partition(";")[0].strip().lower() == _MEDIA_TYPE for part in accept.split(","))


def stream(feed: Feed, task_id: str, look: Callable[[], Task]) -> Response[Any]:
    """The task as it is now and every change of it. `look` reads it; it may block."""
    return ServerSentEvent(_events(feed, task_id, look))


async def _events(feed: Feed, task_id: str, look: Callable[[], Task]) -> AsyncIterator[ServerSentEventMessage]:
    with feed.watching(task_id) as watch, suppress(FeedClosed):
        now: Task | None = await asyncio.to_thread(look)  # read once it is watched, so that no change falls between
        said = b""
        while True:
            if now is None:
                yield ServerSentEventMessage(data=None, comment="still here")
            elif now.status in ENDED:
                yield _event("end", now, msgspec.json.encode(wire.progress(now)))
                return
            elif (progress := msgspec.json.encode(wire.progress(now))) != said:
                said = progress
                yield _event("progress", now, progress)
            now = await watch.changed(_QUIET_SECONDS)


def instance_stream(feed: Feed, instance_id: str, look: Callable[[], Awaitable[Live | None]]) -> Response[Any]:
    """The instance as it is now, and again whenever that has changed."""
    return ServerSentEvent(_looks(feed, instance_id, look))


async def _looks(
    feed: Feed, instance_id: str, look: Callable[[], Awaitable[Live | None]]
) -> AsyncIterator[ServerSentEventMessage]:
    clock = asyncio.get_running_loop().time
    said, said_at = b"", clock()
    with feed.watching(instance_id) as watch, suppress(FeedClosed):
        while (seen := await look()) is not None:
            now = msgspec.json.encode(live_wire.live(seen))
            if now != said:
                said, said_at = now, clock()
                yield ServerSentEventMessage(event="live", data=now)
            elif clock() - said_at > _QUIET_SECONDS:
                said_at = clock()
                yield ServerSentEventMessage(data=None, comment="still here")
            await asyncio.sleep(_LOOK_SECONDS)  # a task changes oftener than anybody can see
            if seen.task is None:
                await watch.changed(_LOOK_SECONDS)
            else:
                watch.check()
        yield ServerSentEventMessage(event="end", data=b"{}")


def _event(name: str, task: Task, progress: bytes) -> ServerSentEventMessage:
    return ServerSentEventMessage(event=name, id=task.revision, data=progress)
