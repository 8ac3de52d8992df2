"""Whether host and quota have room for a change: the figures of `capacity`, read from the database and the host."""

from collections.abc import Sequence

import msgspec
import sqlalchemy as sa

from cachewright.config import Settings
from cachewright.errors import ApiError
from cachewright.hosts.host import Host
from cachewright.model.instances import Instance, Node
from cachewright.model.tasks import Task
from cachewright.operations import OPERATIONS
from cachewright.placement import capacity
from cachewright.placement.capacity import Allocated, Limits, Request, Shortage, Size
from cachewright.store import instances, tasks
from cachewright.store.allocations import allocations


def limits(host: Host, settings: Settings) -> Limits:
    """Resources of the host now, and the quota of each project. Call it outside transactions: the host measures."""
    resources = host.resources()
    first, end = settings.node_ports
    return Limits(
        host_memory=resources.memory,
        overcommit=settings.memory_overcommit,
        disk_free=resources.disk_free,
        ports=end - first,
        quota_instances=settings.quota_instances,
        quota_nodes=settings.quota_nodes,
        quota_memory=settings.quota_memory_gb * capacity.GIGABYTE,
    )


def require_room(
    connection: sa.Connection, limits: Limits, project_id: str, request: Request, instance: Instance | None = None
) -> None:
    """ApiError DCS.4035, DCS.4036, DCS.4039 or DCS.9007 if there is too little room. Call it in the transaction that
    stores the change, so that only one of two requests gets the last room. `instance` is the instance to change."""
    for shortage in shortages(connection, limits, project_id, request, instance):
        raise ApiError(shortage.code, reason=shortage.reason)


def shortages(
    connection: sa.Connection, limits: Limits, project_id: str, request: Request, instance: Instance | None = None
) -> list[Shortage]:
    """Resources of which there is too little for the request."""
    without = instance.id if instance else None
    project, host = allocated(connection, project_id, without)
    return list(capacity.shortages(request, project, host, limits))


def allocated(connection: sa.Connection, project_id: str, without: str | None = None) -> tuple[Allocated, Allocated]:
    """Allocations of the project, and of all projects, without the instance `without`. An instance with an unfinished
    resize counts with its largest size during the resize."""
    reserving = {task.instance_id: task for task in tasks.unfinished(connection) if _reserves_room(task)}
    project, host = Allocated(), Allocated()
    for allocation in allocations(connection):
        if allocation.instance_id == without:
            continue
        size = Size(allocation.nodes, allocation.maxmemory)
        if task := reserving.get(allocation.instance_id):
            size = _size_during(task, instances.nodes_of(connection, allocation.instance_id)) or size
        host = Allocated(host.instances + 1, host.size + size)
        if allocation.project_id == project_id:
            project = Allocated(project.instances + 1, project.size + size)
    return project, host


def _reserves_room(task: Task) -> bool:
    operation = OPERATIONS.get(task.kind)
    return operation is not None and operation.reserves_room


def _size_during(task: Task, nodes: Sequence[Node]) -> Size | None:
    """None if the stored parameters of the task are unreadable, which must not block other requests."""
    operation = OPERATIONS[task.kind]
    try:
        room = operation.required_room(nodes, operation.params_of(task), None)
    except msgspec.ValidationError:
        return None
    return room.size if room is not None else None
