"""Tags of instances."""

from litestar import Response, get, post

from cachewright.api import answers, asked
from cachewright.api.auth.permissions import needs
from cachewright.api.routes.parameters import Body, Call, PathId, Plane, in_thread, instance_of
from cachewright.api.wire import instance_changes as wire
from cachewright.api.wishes import tagging
from cachewright.operations.amend import amend
from cachewright.store import instances

_ALL = 2**31 - 1


@get("/v2/{project_id:str}/instances/{instance_id:str}/tags", opt=needs("dcs:tag:list"))
@in_thread
def show_tags(request: Call, plane: Plane, instance_id: PathId) -> Response[wire.TagList]:
    """ShowTags."""
    with plane.database.read() as connection:
        instance = instance_of(connection, request, instance_id)
    return answers.json(wire.TagList(wire.tags_of(instance)))


@get("/v2/{project_id:str}/dcs/tags", opt=needs("dcs:tag:list"))
@in_thread
def list_tags_of_tenant(request: Call, plane: Plane) -> Response[wire.TenantTags]:
    """ListTagsOfTenant."""
    with plane.database.read() as connection:
        _, found = instances.search(connection, asked.principal(request).project_id, offset=0, limit=_ALL)
    return answers.json(wire.tenant_tags(found))


@post("/v2/{project_id:str}/dcs/{instance_id:str}/tags/action", status_code=204, opt=needs("dcs:tag:modify"))
@in_thread
def batch_create_or_delete_tags(
    request: Call, plane: Plane, instance_id: PathId, body: Body[wire.TagsBody]
) -> Response[None]:
    """BatchCreateOrDeleteTags: a key that is there gets the new value; to delete one that is not is no fault."""
    known = asked.instance_id(instance_id)
    with plane.database.read() as connection:
        instance_of(connection, request, known)
    wished = body.read()
    amend(plane.database, asked.principal(request), known, lambda instance: tagging(wished, instance))
    return answers.no_content()
