"""Tags of instances."""

from litestar import Response, get, post

from cachewright.api import requests, responses
from cachewright.api.auth.permissions import needs
from cachewright.api.routes.parameters import Attributes, Body, Call, InstanceId, Instances, endpoint
from cachewright.api.schemas import instance_changes as schemas
from cachewright.api.validation import tagging


@get("/v2/{project_id:str}/instances/{instance_id:str}/tags", opt=needs("dcs:tag:list"))
@endpoint
def show_tags(request: Call, instances: Instances, instance_id: InstanceId) -> Response[schemas.TagList]:
    """ShowTags: the tags of an instance."""
    return responses.json(schemas.TagList(schemas.tags_of(instances.get(requests.principal(request), instance_id))))


@get("/v2/{project_id:str}/dcs/tags", opt=needs("dcs:tag:list"))
@endpoint
def list_tags_of_tenant(request: Call, instances: Instances) -> Response[schemas.TenantTags]:
    """ListTagsOfTenant: all tags of the project's instances."""
    return responses.json(schemas.tenant_tags(instances.all(requests.principal(request))))


@post("/v2/{project_id:str}/dcs/{instance_id:str}/tags/action", status_code=204, opt=needs("dcs:tag:modify"))
@endpoint
def batch_create_or_delete_tags(
    request: Call,
    attributes: Attributes,
    instances: Instances,
    instance_id: InstanceId,
    body: Body[schemas.TagsBody],
) -> Response[None]:
    """BatchCreateOrDeleteTags: replaces values of existing keys, and ignores missing keys in deletions."""
    principal = requests.principal(request)
    instances.get(principal, instance_id)
    tags = body.read()  # before the transaction, because a large body takes a while
    attributes.change(principal, instance_id, lambda instance: tagging(tags, instance))
    return responses.no_content()
