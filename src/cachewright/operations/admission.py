"""Whether a change is let in: the figures of `capacity`, read from the database and the host."""

from collections.abc import Sequence

import sqlalchemy as sa

from cachewright.config import Settings
from cachewright.errors import ApiError
from cachewright.flavors import Flavor, parse
from cachewright.hosts.host import Host
from cachewright.model.instances import Instance, Node
from cachewright.operations.kinds import RESIZE
from cachewright.placement import capacity
from cachewright.placement.capacity import Allocated, Limits, Request, Shortage, Size
from cachewright.store import instances, tasks
from cachewright.store.allocations import allocations


def limits(host: Host, settings: Settings) -> Limits:
    """Resources of the host now, and the quota of each project. Call it outside of transactions: the host measures."""
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


def creation(flavor: Flavor, count: int) -> Request:
    """So many new instances of one flavor."""
    size = capacity.size_of(flavor) * count
    return Request(instances=count, size=size, disk=capacity.disk_bytes(0, 0, size.nodes))


def resizing(nodes: Sequence[Node], flavor: Flavor, dataset: int | None = None) -> Request:
    """An instance of these nodes that becomes `flavor`. `dataset` is how many bytes of data it has, where the disk is
    to be looked at."""
    held, size = capacity.size_of_nodes(nodes), capacity.size_during_resize(nodes, flavor)
    if dataset is None:
        return Request(size=size, held=held)
    moved = capacity.moved_bytes(dataset, len({node.shard for node in nodes}), flavor.shards)
    return Request(size=size, held=held, disk=capacity.disk_bytes(moved, flavor.copies, size.nodes - held.nodes))


def require_room(
    connection: sa.Connection, limits: Limits, project_id: str, request: Request, instance: Instance | None = None
) -> None:
    """ApiError DCS.4035, DCS.4036, DCS.4039 or DCS.9007. Call it in the transaction that stores what is requested:
    of two requests for the last room one is refused. `instance` is the one that is changed."""
    for shortage in shortages(connection, limits, project_id, request, instance):
        raise ApiError(shortage.code, reason=shortage.reason)


def shortages(
    connection: sa.Connection, limits: Limits, project_id: str, request: Request, instance: Instance | None = None
) -> list[Shortage]:
    """What there is too little of for the request."""
    without = instance.id if instance else None
    project, host = allocated(connection, project_id, without)
    return list(capacity.shortages(request, project, host, limits))


def allocated(connection: sa.Connection, project_id: str, without: str | None = None) -> tuple[Allocated, Allocated]:
    """What the project has, and what all of them have; both leave out the instance `without`. An instance that is being
    resized, or will be, counts with the most that it has meanwhile."""
    growing = {
        task.instance_id: parse(task.params["spec_code"])
        for task in tasks.unfinished(connection)
        if task.kind == RESIZE.kind and "spec_code" in task.params
    }
    project, host = Allocated(), Allocated()
    for one in allocations(connection):
        if one.instance_id == without:
            continue
        size = Size(one.nodes, one.maxmemory)
        if flavor := growing.get(one.instance_id):
            size = capacity.size_during_resize(instances.nodes_of(connection, one.instance_id), flavor)
        host = Allocated(host.instances + 1, host.size + size)
        if one.project_id == project_id:
            project = Allocated(project.instances + 1, project.size + size)
    return project, host
