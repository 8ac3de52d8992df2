"""Response to a request for the progress of a task, for both the route and the fast path. Pure."""

import msgspec

from cachewright.api.schemas import tasks as schemas
from cachewright.model.tasks import Task


class RenderedProgress(msgspec.Struct, frozen=True):
    """Encoded progress.

    :ivar etag: entity tag (RFC 9110, 8.8.3), which changes with the task.
    :ivar body: the progress as JSON.
    """

    etag: str
    body: bytes


class ProgressResponse(msgspec.Struct, frozen=True):
    """A response with status 200, or 304 (RFC 9110, 15.4.5) without a body."""

    status: int
    etag: str
    body: bytes


def render(task: Task) -> RenderedProgress:
    return RenderedProgress(schemas.tag(task), msgspec.json.encode(schemas.progress(task)))


def respond(rendered: RenderedProgress, if_none_match: str) -> ProgressResponse:
    """Return the response. `if_none_match` is the request's header of this name, empty if it is missing."""
    if if_none_match == rendered.etag:
        return ProgressResponse(304, rendered.etag, b"")
    return ProgressResponse(200, rendered.etag, rendered.body)
