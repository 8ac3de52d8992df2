"""Tags of instances."""

from litestar import Response, get, post

from cachewright.api import requests, responses
from cachewright.api.auth.permissions import needs
from cachewright.api.routes.parameters import Body, Call, PathId, Plane, in_thread, instance_of
from cachewright.api.schemas import instance_changes as schemas
from cachewright.api.validation import tagging
from cachewright.services.instance_attributes import change_attributes
from cachewright.store import instances

_ALL = 2**31 - 1


@get("/v2/{project_id:str}/instances/{instance_id:str}/tags", opt=needs("dcs:tag:list"))
@in_thread
def show_tags(request: Call, plane: Plane, instance_id: PathId) -> Response[schemas.TagList]:
    """ShowTags."""
    with plane.database.read() as connection:
        instance = instance_of(connection, request, instance_id)
    return responses.json(schemas.TagList(schemas.tags_of(instance)))


@get("/v2/{project_id:str}/dcs/tags", opt=needs("dcs:tag:list"))
@in_thread
def list_tags_of_tenant(request: Call, plane: Plane) -> Response[schemas.TenantTags]:
    """ListTagsOfTenant."""
    with plane.database.read() as connection:
        _, found = instances.search(connection, requests.principal(request).project_id, offset=0, limit=_ALL)
    return responses.json(schemas.tenant_tags(found))


@post("/v2/{project_id:str}/dcs/{instance_id:str}/tags/action", status_code=204, opt=needs("dcs:tag:modify"))
@in_thread
def batch_create_or_delete_tags(
    request: Call, plane: Plane, instance_id: PathId, body: Body[schemas.TagsBody]
) -> Response[None]:
    """BatchCreateOrDeleteTags: a key that is there gets the new value; to delete one that is not is no fault."""
    known = requests.instance_id(instance_id)
    with plane.database.read() as connection:
        instance_of(connection, request, known)
    wished = body.read()
    change_attributes(plane.database, requests.principal(request), known, lambda instance: tagging(wished, instance))
    return responses.no_content()
