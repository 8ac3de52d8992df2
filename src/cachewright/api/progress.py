"""The response to a request for the progress of a task, whichever way the request takes: pure functions."""

import msgspec

from cachewright.api.schemas import tasks as schemas
from cachewright.model.tasks import Task


class RenderedProgress(msgspec.Struct, frozen=True):
    """:ivar etag: entity tag (RFC 9110, 8.8.3), the same until the task changes.
    :ivar body: the progress as JSON.
    """

    etag: str
    body: bytes


class ProgressResponse(msgspec.Struct, frozen=True):
    """:ivar status: 200, or 304 (RFC 9110, 15.4.5) without a body."""

    status: int
    etag: str
    body: bytes


def render(task: Task) -> RenderedProgress:
    return RenderedProgress(schemas.tag(task), msgspec.json.encode(schemas.progress(task)))


def respond(rendered: RenderedProgress, if_none_match: str) -> ProgressResponse:
    """`if_none_match` is the request's header of this name, empty where it has none."""
    if if_none_match == rendered.etag:
        return ProgressResponse(304, rendered.etag, b"")
    return ProgressResponse(200, rendered.etag, rendered.body)
