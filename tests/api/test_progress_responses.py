"""The response to a request for progress is a function of the task and of what the client has."""

from cachewright.api.progress import ProgressResponse, render, respond
from database_fixtures import a_task


def test_without_an_entity_tag_the_whole_progress_is_sent() -> None:
    rendered = render(a_task())
    assert respond(rendered, "") == ProgressResponse(200, rendered.etag, rendered.body)
    assert rendered.body.startswith(b'{"progress":0,')


def test_a_client_that_has_this_revision_gets_no_body() -> None:
    rendered = render(a_task(revision=3))
    assert respond(rendered, rendered.etag) == ProgressResponse(304, rendered.etag, b"")


def test_another_revision_has_another_entity_tag() -> None:
    before, after = render(a_task(revision=3)), render(a_task(revision=4))
    assert before.etag != after.etag
    assert respond(after, before.etag).status == 200
