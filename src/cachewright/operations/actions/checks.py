"""Actions that check whether a task can run: resources of the host, health of the instance."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from cachewright import errors
from cachewright.hosts.resources import Resources
from cachewright.model.instances import Node
from cachewright.operations.actions.action import action
from cachewright.operations.context import OperationContext
from cachewright.operations.step_names import RESOURCE_CHECK
from cachewright.tasks.operation import ActionFailed, StepContext
from cachewright.tasks.plan import SubStepSpec, effort
from cachewright.topologies.topology import CHECK_SECONDS
from cachewright.valkey.cluster_membership import fault
from cachewright.valkey.topology import View


class Room(msgspec.Struct, frozen=True, array_like=True):
    """Bytes that a node will hold, and the most that it may hold."""

    node_id: str
    holds: int
    may_hold: int


class CheckResources(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes that the host must have free, and rooms of the nodes that get more data or less memory.

    :ivar host_name: of the host; None if all hosts together must have them.
    """

    host_bytes: int
    disk_bytes: int
    rooms: tuple[Room, ...]
    host_name: str | None = None


class CheckStatus(msgspec.Struct, frozen=True):
    """`new` are ids of nodes that have not been started yet."""

    new: tuple[str, ...]


@action("check resources", CheckResources, timeout=10, attempts=1)
async def check_resources(context: OperationContext, step: StepContext, arguments: CheckResources) -> None:
    """Check that the host and each node have room for what the plan needs."""
    free = await asyncio.to_thread(_measured, context, arguments.host_name)
    step.measure(detail=f"{{memory_free:{free.memory_free},disk_free:{free.disk_free}}}")
    for failure in resource_failures(arguments, free):
        raise failure


def _measured(context: OperationContext, host_name: str | None) -> Resources:
    """Return the resources of a host, of all hosts with None, also if that one does not report. Blocks."""
    found = context.host.measured().get(host_name) if host_name else None
    return found.resources if found else context.host.resources()


def resource_failures(needed: CheckResources, free: Resources) -> Iterator[ActionFailed]:
    """The failures of "check resources". All are final."""
    if free.memory_free < needed.host_bytes:
        message = f"{needed.host_bytes} bytes of memory needed, {free.memory_free} are free"
        yield ActionFailed(errors.NOT_ENOUGH_MEMORY, message, True)
    if free.disk_free < needed.disk_bytes:
        message = f"{needed.disk_bytes} bytes of disk needed, {free.disk_free} are free"
        yield ActionFailed(errors.NOT_ENOUGH_DISK, message, True)
    for room in needed.rooms:
        if room.holds > room.may_hold:
            message = f"node {room.node_id} would hold {room.holds} bytes of at most {room.may_hold}"
            yield ActionFailed(errors.SHARDS_TOO_FULL, message, True)


def resource_check(needed: CheckResources) -> SubStepSpec:
    """Return the sub-step that checks that hosts and nodes have room for what the plan needs."""
    return check_resources.sub_step(RESOURCE_CHECK, effort("check", seconds=CHECK_SECONDS), needed)


@action("check status", CheckStatus, timeout=20, attempts=8)
async def check_status(context: OperationContext, step: StepContext, arguments: CheckStatus) -> None:
    """Check that every node except the new ones responds and finds the instance healthy. Raises NodeBusy if a node is
    busy."""
    _, nodes, views = await context.look(step.task, needed="all")
    for failure in status_failures([node for node in nodes if node.id not in arguments.new], views):
        raise failure


def status_failures(nodes: Sequence[Node], views: Mapping[str, View | None]) -> Iterator[ActionFailed]:
    """The failures of "check status": the first fault of each node that should run. `views` by node id."""
    for node in nodes:
        if node.should_run and (found := fault(views[node.id])):
            yield ActionFailed(errors.CLUSTER_NOT_HEALTHY_IN_TIME, f"node {node.id} {found}")
