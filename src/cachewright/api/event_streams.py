"""Event streams of tasks and instances as server-sent events (WHATWG HTML, 9.2): one event for each visible change.

An event of a task is named `progress`. Its data is the progress, with what the record of the task says of its waits and
its remaining time; its id is the task's revision. The stream ends with the task; the last event is named `end`. If the
server stops, the stream ends without this event. While a task waits behind others of its instance, its remaining time
is read again every two seconds.

The rights of the caller are checked again before each event and every two seconds. If they are lost (the user or key is
disabled, the token has ended, the role was removed), the last event is named `refused`. Its data is the body that a new
request would receive. While the database is unavailable, rights cannot be checked: the stream stays open, and sends
comments only.
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
from cachewright.api.schemas import instance_state as state_schemas
from cachewright.api.schemas.task_activity import progress_event
from cachewright.errors import ApiError, DatabaseUnavailable
from cachewright.model.tasks import ENDED, Task
from cachewright.monitoring.snapshots import InstanceSnapshot
from cachewright.tasks.feed import FeedClosed, TaskFeed

_MEDIA_TYPE = "text/event-stream"
_LOOK_SECONDS = 0.5
_CHECK_SECONDS = 2.0
_QUIET_SECONDS = 15.0
"""Time without events after which a comment is sent, so that neither side considers the connection dead."""


def wanted(accept: str) -> bool:
    return any(part.partition(";")[0].strip().lower() == _MEDIA_TYPE for part in accept.split(","))


def stream(feed: TaskFeed, task_id: str, look: Callable[[], Task], rights: RightsCheck) -> Response[Any]:
    """Stream the present state of a task and every change. `look` reads the task; it may block."""
    return ServerSentEvent(_events(feed, task_id, look, rights))


async def _events(
    feed: TaskFeed, task_id: str, look: Callable[[], Task], rights: RightsCheck
) -> AsyncIterator[ServerSentEventMessage]:
    sent = _Sent()
    with feed.watching(task_id) as watch, suppress(FeedClosed):
        now: Task | None = None
        waits, must_read = False, True  # read after watching began, to miss no change
        while True:
            try:
                if must_read:
                    now = await asyncio.to_thread(look)
                refusal = await rights()
            except DatabaseUnavailable:
                if sent.record_silence():
                    yield _comment()
                now = await watch.changed(_CHECK_SECONDS) or now
                continue
            except ApiError as gone:
                refusal = gone
            if refusal is not None:
                yield _refused(refusal)
                return
            if now is not None and now.status in ENDED:
                yield _event("end", now, msgspec.json.encode(progress_event(now)))
                return
            waits = waits if now is None else now.status == "WAITING"
            if now is not None and sent.record(progress := msgspec.json.encode(progress_event(now))):
                yield _event("progress", now, progress)
            elif sent.record_silence():
                yield _comment()
            now = await watch.changed(_CHECK_SECONDS)
            must_read = waits and (now is None or now.status == "WAITING")


def instance_stream(
    feed: TaskFeed, instance_id: str, look: Callable[[], Awaitable[InstanceSnapshot | None]], rights: RightsCheck
) -> Response[Any]:
    """Stream the present state of an instance and every change."""
    return ServerSentEvent(_instance_events(feed, instance_id, look, rights))


async def _instance_events(
    feed: TaskFeed, instance_id: str, look: Callable[[], Awaitable[InstanceSnapshot | None]], rights: RightsCheck
) -> AsyncIterator[ServerSentEventMessage]:
    sent = _Sent()
    with feed.watching(instance_id) as watch, suppress(FeedClosed):
        while True:
            try:
                snapshot = await look()
                refusal = await rights()
            except DatabaseUnavailable:
                if sent.record_silence():
                    yield _comment()
                await asyncio.sleep(_CHECK_SECONDS)
                watch.check()
                continue
            if refusal is not None:
                yield _refused(refusal)
                return
            if snapshot is None:
                yield ServerSentEventMessage(event="end", data=b"{}")
                return
            if sent.record(state := msgspec.json.encode(state_schemas.instance_state(snapshot))):
                yield ServerSentEventMessage(event="state", data=state)
            elif sent.record_silence():
                yield _comment()
            await asyncio.sleep(_LOOK_SECONDS)  # a task changes more often than readers can follow
            if snapshot.task is None:
                await watch.changed(_LOOK_SECONDS)
            else:
                watch.check()


class _Sent:
    """What a stream has sent last, and when."""

    def __init__(self) -> None:
        self._clock = asyncio.get_running_loop().time
        self._body, self._at = b"", self._clock()

    def record(self, body: bytes) -> bool:
        """Record a body. False if it was the last one already, so that it need not be sent."""
        if body == self._body:
            return False
        self._body, self._at = body, self._clock()
        return True

    def record_silence(self) -> bool:
        """Whether nothing was sent for so long that a comment is due; it is recorded as sent."""
        if self._clock() - self._at < _QUIET_SECONDS:
            return False
        self._at = self._clock()
        return True


def _comment() -> ServerSentEventMessage:
    return ServerSentEventMessage(data=None, comment="still here")


def _event(name: str, task: Task, progress: bytes) -> ServerSentEventMessage:
    return ServerSentEventMessage(event=name, id=task.revision, data=progress)


def _refused(refusal: ApiError) -> ServerSentEventMessage:
    return ServerSentEventMessage(event="refused", data=msgspec.json.encode(ErrorBody(refusal.code, refusal.message)))
