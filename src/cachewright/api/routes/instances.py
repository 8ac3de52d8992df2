"""Instances: create, list, show, change, resize, delete."""

from collections.abc import Sequence

from litestar import Response, delete, get, post, put

from cachewright import errors
from cachewright.api import requests, responses
from cachewright.api.access_validation import disabled_commands
from cachewright.api.auth.authorization import name_subjects
from cachewright.api.auth.permissions import needs
from cachewright.api.routes.parameters import (
    Attributes,
    Body,
    Call,
    Creation,
    Hosts,
    InstanceId,
    Instances,
    OptionalBody,
    Query,
    Resizes,
    Restores,
    Tasks,
    endpoint,
    in_thread,
    while_connected,
)
from cachewright.api.schemas import instance_changes as change_schemas
from cachewright.api.schemas import instances as schemas
from cachewright.api.schemas.instance_bodies import CreateBody, ResizeBody
from cachewright.api.validation import attribute_change, create_request, instance_filter, resize_request
from cachewright.errors import ApiError
from cachewright.model.identity import Principal
from cachewright.model.instances import Instance
from cachewright.operations.delete import DELETE
from cachewright.operations.flush import FLUSH
from cachewright.operations.operation import NoParams, Operation
from cachewright.operations.requests import CommandsRequest, ResizeRequest
from cachewright.operations.resize.operation import RESIZE
from cachewright.operations.restart import RESTART
from cachewright.operations.users import DISABLE_COMMANDS
from cachewright.services.instance_attributes import AttributeChange
from cachewright.services.tasks import TaskService

_INSTANCES = "/v2/{project_id:str}/instances"
_INSTANCE = _INSTANCES + "/{instance_id:str}"


@post(_INSTANCES, status_code=200, opt=needs("dcs:instance:create"))
@endpoint
async def create_instance(
    request: Call, *, creation: Creation, restores: Restores, hosts: Hosts, body: Body[CreateBody]
) -> Response[schemas.CreatedList]:
    """CreateInstance: stores new instances and starts background tasks that create them."""
    principal, given = requests.principal(request), body.read()
    client = requests.header(request.scope, b"user-agent")
    wanted = await in_thread(request, lambda: create_request(given, hosts.zones(), client))
    if given.backup_id:
        created = await restores.create_instances(principal, wanted, given.backup_id.lower())
    else:
        created = await in_thread(request, lambda: creation.create_instances(principal, wanted))
    name_subjects(request, [instance.id for instance in created])
    return responses.json(schemas.CreatedList([schemas.Created(instance.id, instance.name) for instance in created]))


@get(_INSTANCES, opt=needs("dcs:instance:list"))
@endpoint
def list_instances(
    request: Call, instances: Instances, wanted: Query[schemas.InstancesQuery]
) -> Response[schemas.InstanceList]:
    """ListInstances: newest first. An offset beyond the end returns an empty page."""
    query = wanted.read()
    count, page = instances.page(
        requests.principal(request), instance_filter(query), offset=query.offset, limit=query.limit
    )
    items = [schemas.listed(measured.instance, measured.used_memory) for measured in page]
    return responses.json(schemas.InstanceList(count, items))


@delete(_INSTANCES, status_code=200, opt=needs("dcs:instance:delete"))
@endpoint
def batch_delete_instances(
    request: Call,
    tasks: Tasks,
    instances: Instances,
    wanted: Query[change_schemas.BatchDeleteQuery],
    body: OptionalBody[change_schemas.BatchDeleteBody],
) -> Response[change_schemas.BatchResults]:
    """BatchDeleteInstances: deletes the listed instances, and with `all_failure` those whose creation failed."""
    all_failure = wanted.read().all_failure.lower() == "true"
    named = body.read().instances if body.given or not all_failure else []
    ids = _instance_ids(named) if named or not all_failure else []
    principal = requests.principal(request)
    if all_failure:
        ids += [instance.id for instance in instances.all(principal, status="CREATEFAILED")]
    name_subjects(request, ids)
    return responses.json(_submit_each(tasks, DELETE, principal, list(dict.fromkeys(ids))))


@get(_INSTANCE, opt=needs("dcs:instance:get"))
@endpoint
def show_instance(request: Call, instances: Instances, instance_id: InstanceId) -> Response[schemas.ShownInstance]:
    """ShowInstance: one instance with its details."""
    details = instances.show(requests.principal(request), instance_id)
    return responses.json(schemas.shown(details.instance, details.nodes, details.used_memory, details.unfinished))


@put(_INSTANCE, status_code=204, opt=needs("dcs:instance:modify"))
@endpoint
def update_instance(
    request: Call,
    *,
    attributes: Attributes,
    instances: Instances,
    tasks: Tasks,
    instance_id: InstanceId,
    body: Body[change_schemas.UpdateBody],
) -> Response[None]:
    """UpdateInstance: changes name, description, maintenance window and security group. `rename_commands` starts a
    background task that disables commands."""
    principal = requests.principal(request)
    instances.get(principal, instance_id)
    changed = body.read()  # before the transaction, because a large body takes a while

    def decide(instance: Instance) -> AttributeChange:
        return attribute_change(changed, instance)

    disabled = disabled_commands(changed.rename_commands)
    if disabled is None:
        attributes.change(principal, instance_id, decide)
    else:
        tasks.submit(DISABLE_COMMANDS, principal, instance_id, CommandsRequest(disabled), decide)
    return responses.no_content()


@delete(_INSTANCE, status_code=204, opt=needs("dcs:instance:delete"))
@endpoint
def delete_single_instance(request: Call, tasks: Tasks, instance_id: InstanceId) -> Response[None]:
    """DeleteSingleInstance: starts a background task. After the deletion, ShowInstance returns 404."""
    tasks.submit(DELETE, requests.principal(request), instance_id, None)
    return responses.no_content()


@post(_INSTANCE + "/resize", status_code=204, opt=needs("dcs:instance:scale"))
@endpoint
async def resize_instance(
    request: Call,
    *,
    tasks: Tasks,
    resizes: Resizes,
    instances: Instances,
    instance_id: InstanceId,
    body: Body[ResizeBody],
) -> Response[None]:
    """ResizeInstance: starts a background task. It is the newest one in ListBackgroundTask; the response has no id.
    What a plan shows as a blocker is refused."""
    principal = requests.principal(request)

    def read() -> ResizeRequest:
        instance = instances.get(principal, instance_id)
        return resize_request(body.read(), instance)

    wanted = await in_thread(request, read)
    await while_connected(request, resizes.require_possible(principal, instance_id, wanted))
    await in_thread(request, lambda: tasks.submit(RESIZE, principal, instance_id, wanted))
    return responses.no_content()


@put(_INSTANCES + "/status", status_code=200, opt=needs("dcs:instance:modifyStatus"))
@endpoint
def restart_or_flush_instances(
    request: Call, tasks: Tasks, body: Body[change_schemas.StatusBody]
) -> Response[change_schemas.BatchResults]:
    """RestartOrFlushInstances: restarts one node after another, or deletes all keys."""
    wanted = body.read()
    ids = _instance_ids(wanted.instances)
    principal = requests.principal(request)
    name_subjects(request, ids)
    return responses.json(_submit_each(tasks, FLUSH if wanted.action == "flush" else RESTART, principal, ids))


def _instance_ids(texts: Sequence[str]) -> list[str]:
    """Return the ids without duplicates. Raises ApiError DCS.4065, DCS.4100 or DCS.4061."""
    if not texts:
        raise requests.refused("instances", "it is empty")
    if len(texts) > change_schemas.MOST_IDS:
        raise ApiError(errors.TOO_MANY_INSTANCES)
    return list(dict.fromkeys(requests.instance_id(text) for text in texts))


def _submit_each(
    tasks: TaskService, operation: Operation[None, NoParams], principal: Principal, ids: Sequence[str]
) -> change_schemas.BatchResults:
    """Start the operation on each instance, even if it is refused for some of them."""
    results = []
    for instance_id in ids:
        try:
            tasks.submit(operation, principal, instance_id, None)
        except ApiError as refusal:
            results.append(change_schemas.BatchResult("failed", instance_id, refusal.code, refusal.message))
        else:
            results.append(change_schemas.BatchResult("success", instance_id))
    return change_schemas.BatchResults(results)
