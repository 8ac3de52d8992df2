"""Creation of an instance: its nodes start, and the topology makes an instance of them.

The request stores the instance and its nodes together with the task (`InstanceService.create_instances`).
"""

import asyncio
from collections.abc import Sequence

import msgspec
import sqlalchemy as sa

from cachewright import errors
from cachewright.clock import now_ms
from cachewright.flavors import Flavor, parse
from cachewright.hosts.calls import HostSilent
from cachewright.model.instances import Instance, Node, has_proxy
from cachewright.model.tasks import Step, Task
from cachewright.operations import proxies
from cachewright.operations.actions.action import NoArguments
from cachewright.operations.actions.checks import CheckResources, resource_check
from cachewright.operations.actions.failover import start_proxy, withdraw
from cachewright.operations.context import OperationContext
from cachewright.operations.operation import Accepted, Operation
from cachewright.operations.requests import CreateRequest
from cachewright.operations.restore_content import content_of, disk_bytes
from cachewright.operations.restore_files import RestoreFiles
from cachewright.operations.restore_steps import SECONDS_OF_BYTE, creation_steps
from cachewright.operations.step_names import PRE_CHECK
from cachewright.operations.work_places import place_of_temporary_node
from cachewright.placement import capacity
from cachewright.placement.capacity import Request as RoomRequest
from cachewright.store import instances
from cachewright.tasks.plan import SubStepSpec, build, effort
from cachewright.topologies import topology_of
from cachewright.valkey import node_control

_STOP_SECONDS = 5.0
_PROXY_SECONDS = 0.4
_FORMATION_SECONDS = 0.2  # before the plan
_SECONDS_OF_NODE = 0.2  # before the plan


class CreateParams(msgspec.Struct, frozen=True, kw_only=True):
    """Properties of the new instance. `engine_version` is only shown.

    :ivar backup_id: backup whose data the instance begins with, of `backup_bytes`; None for an empty instance.
    """

    spec_code: str
    engine_version: str = ""
    backup_id: str | None = None
    backup_bytes: int = 0


class Create(Operation[CreateRequest, CreateParams]):
    kind = "create"
    name = "CreateInstance"
    permission = "dcs:instance:create"
    params = CreateParams
    outline = (PRE_CHECK, "Resource request.", "Cluster formation.")
    accepts = frozenset[str]()
    busy = errors.INSTANCE_CREATING
    status_while_running = "CREATING"
    status_after_failure = "CREATEFAILED"
    nodes_should_run = False

    def validate(self, instance: Instance, nodes: Sequence[Node], request: CreateRequest) -> Accepted[CreateParams]:
        content = request.content
        params = CreateParams(
            spec_code=request.flavor.spec_code,
            engine_version=request.engine_version,
            backup_id=content.backup_id if content else None,
            backup_bytes=content.size if content else 0,
        )
        return Accepted(params)

    def expected_seconds(self, task: Task, nodes: Sequence[Node], dataset: int) -> float:
        restored = self.params_of(task).backup_bytes * SECONDS_OF_BYTE
        return _FORMATION_SECONDS + _SECONDS_OF_NODE * len(nodes) + restored

    async def plan(self, context: OperationContext, task: Task) -> tuple[Step, ...]:
        instance, nodes = await context.instance_and_nodes(task)
        await _set_should_run(context, nodes, should_run=True)
        params = self.params_of(task)
        topology = topology_of(params.spec_code)
        if params.backup_id is None:
            steps = {PRE_CHECK: [_check(len(nodes))], **topology.formation(nodes)}
        else:
            content = content_of(await RestoreFiles(context, task.id).manifest(params.backup_id))
            check = _check(len(nodes), content.size, disk_bytes(content.size, parse(params.spec_code).copies))
            primaries = [node for node in nodes if node.role == "primary"]
            divider = await place_of_temporary_node(context, nodes, primaries, content.least_memory)
            steps = {PRE_CHECK: [check], **creation_steps(topology, nodes, content, divider)}
        if not (topology.is_cluster or topology.has_sentinel) and has_proxy(instance, nodes):
            proxy = start_proxy.sub_step("Proxy start.", effort("address", seconds=_PROXY_SECONDS), NoArguments())
            steps["Address."] = [proxy]
        return build(task.run_id, steps)

    async def recover(self, context: OperationContext, task: Task) -> None:
        """Stop nodes that have started. The record stays, so that the caller can read and delete it."""
        instance, nodes = await context.instance_and_nodes(task)
        topology = topology_of(self.params_of(task).spec_code)
        if topology.has_sentinel:
            await withdraw(context, task.instance_id)
        elif not topology.is_cluster and has_proxy(instance, nodes):
            await proxies.remove(context, task.instance_id)
        await _set_should_run(context, nodes, should_run=False)
        await asyncio.gather(*(_stop(context, instance, node) for node in nodes))
        if self.params_of(task).backup_id is not None:
            await RestoreFiles(context, task.id).delete()

    def succeeded(self, context: OperationContext, connection: sa.Connection, task: Task) -> None:
        spec_code = parse(self.params_of(task).spec_code).spec_code
        instances.change(connection, task.instance_id, launched_at=now_ms(), spec_code=spec_code)


def room_for_new(flavor: Flavor, count: int, restored: int = 0) -> RoomRequest:
    """Room that `count` new instances of one flavor require, each with so many bytes of a backup."""
    size = capacity.size_of(flavor) * count
    disk = capacity.disk_bytes(0, 0, size.nodes) + count * disk_bytes(restored, flavor.copies)
    return RoomRequest(instances=count, size=size, disk=disk)


async def _stop(context: OperationContext, instance: Instance, node: Node) -> None:
    """Stop a node. One on a host that does not report ends if it answers; else the supervisor ends it when the host
    reports again."""
    try:
        await context.host.stop(node.id, _STOP_SECONDS)
    except HostSilent:
        await node_control.shut_down(node, context.access(instance))


async def _set_should_run(context: OperationContext, nodes: Sequence[Node], *, should_run: bool) -> None:
    """Record that the nodes should run, or no longer; a retry after a failure starts them again."""

    def write() -> None:
        with context.database.write() as connection:
            for node in nodes:
                instances.change_node(connection, node.id, should_run=should_run)

    await asyncio.to_thread(write)


def _check(nodes: int, memory: int = 0, disk: int = 0) -> SubStepSpec:
    """Check of the free memory and disk for the start of this number of nodes, which need so many bytes of each for the
    data of a backup."""
    requirements = CheckResources(
        host_bytes=capacity.EMPTY_NODE * nodes + memory,
        disk_bytes=capacity.disk_bytes(0, 0, nodes) + disk,
        rooms=(),
    )
    return resource_check(requirements)


CREATE = Create()
