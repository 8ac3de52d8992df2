"""Whether hosts and quota have room for a change: the figures of `capacity`, read from the database and the hosts."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence

import msgspec
import sqlalchemy as sa

from cachewright import errors
from cachewright.errors import ApiError
from cachewright.model.instances import Instance, Node
from cachewright.model.tasks import Task
from cachewright.operations import OPERATIONS
from cachewright.operations.node_placement import allocated_by_host, taking_hosts
from cachewright.placement import capacity
from cachewright.placement.capacity import Allocated, Limits, Request, Shortage, Size
from cachewright.store import allocations, counts, instances, tasks


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
    """Resources of which there is too little for the request, on the hosts that take new nodes and on those that run
    nodes of the instance."""
    taking, own = taking_hosts(connection, limits), instances.nodes_of(connection, instance.id) if instance else []
    if not taking and request.size.nodes > request.held.nodes:
        return [Shortage(errors.NOT_ENOUGH_MEMORY, "no host takes new nodes: all hosts are cordoned or do not report")]
    used = taking | {node.host_name for node in own}
    project, host = allocated(connection, project_id, instance.id if instance else None, used)
    found = list(capacity.shortages(request, project, host, limits.of(used)))
    if not found and instance is not None and len(limits.hosts) > 1:
        found.extend(_growth_shortages(limits, allocated_by_host(connection, instance.id), request, own))
    return found


def allocated(
    connection: sa.Connection, project_id: str, without: str | None = None, on: Collection[str] | None = None
) -> tuple[Allocated, Allocated]:
    """Allocations of the project, and of all projects, without the instance `without`. An instance with an unfinished
    resize counts with its largest size during the resize.

    :param on: hosts whose nodes the second figure counts; None for all.
    """
    project, everywhere = Size(), Size()
    for allocation in allocations.of_projects(connection):
        size = Size(allocation.nodes, allocation.maxmemory)
        project += size if allocation.project_id == project_id else Size()
        everywhere += size if on is None or allocation.host_name in on else Size()
    numbers = counts.by_project(connection)
    if without is not None and (instance := instances.find(connection, without)):
        size, there = _sizes_of(connection, without, on)
        project -= size if instance.project_id == project_id else Size()
        everywhere -= there
        numbers[instance.project_id] -= 1
    for task in _reserving(connection):
        during = _size_during(task, instances.nodes_of(connection, task.instance_id))
        if during is not None and task.instance_id != without:
            growth = during - _sizes_of(connection, task.instance_id, on)[0]
            project += growth if task.project_id == project_id else Size()
            everywhere += growth
    return Allocated(numbers.get(project_id, 0), project), Allocated(sum(numbers.values()), everywhere)


def _sizes_of(connection: sa.Connection, instance_id: str, on: Collection[str] | None) -> tuple[Size, Size]:
    """Return the nodes of an instance, and those of them on these hosts."""
    found = allocations.of_instances(connection, [instance_id])
    sizes = {allocation.host_name: Size(allocation.nodes, allocation.maxmemory) for allocation in found}
    there = [size for host_name, size in sizes.items() if on is None or host_name in on]
    return sum(sizes.values(), Size()), sum(there, Size())


def _growth_shortages(
    limits: Limits, others: Mapping[str, Size], request: Request, nodes: Sequence[Node]
) -> list[Shortage]:
    """Shortages on the hosts whose nodes grow where they are. `others` are the nodes of other instances."""
    held: defaultdict[str, Size] = defaultdict(Size)
    grown: defaultdict[str, Size] = defaultdict(Size)
    for node in nodes:
        held[node.host_name] += Size(1, node.maxmemory)
        grown[node.host_name] += Size(1, request.grown.get(node.id, node.maxmemory))
    return [
        Shortage(errors.NOT_ENOUGH_MEMORY, f"host {name} has too little memory for the larger nodes that it runs")
        for name, size in grown.items()
        if size.maxmemory > held[name].maxmemory
        and (others.get(name, Size()) + size).host_memory > (limits.memory_of(name) or 0)
    ]


def _reserving(connection: sa.Connection) -> Iterator[Task]:
    """Yield the unfinished tasks that reserve room; the latest of each instance."""
    kinds = [kind for kind, operation in OPERATIONS.items() if operation.reserves_room]
    latest = {task.instance_id: task for kind in kinds for task in tasks.unfinished_of_kind(connection, kind)}
    yield from latest.values()


def _size_during(task: Task, nodes: Sequence[Node]) -> Size | None:
    """None if the stored parameters of the task are unreadable, which must not block other requests."""
    operation = OPERATIONS[task.kind]
    try:
        room = operation.required_room(nodes, operation.params_of(task), None)
    except msgspec.ValidationError:
        return None
    return room.size if room is not None else None
