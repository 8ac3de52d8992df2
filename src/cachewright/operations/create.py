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
from cachewright.model.instances import Instance, Node, has_proxy
from cachewright.model.tasks import Step, Task
from cachewright.operations import proxies
from cachewright.operations.actions.action import NoArguments
from cachewright.operations.actions.checks import CheckResources, check_resources
from cachewright.operations.actions.failover import start_proxy, withdraw
from cachewright.operations.context import OperationContext
from cachewright.operations.operation import Accepted, Operation
from cachewright.operations.requests import CreateRequest
from cachewright.operations.step_names import PRE_CHECK, RESOURCE_CHECK
from cachewright.placement import capacity
from cachewright.placement.capacity import Request as RoomRequest
from cachewright.store import instances
from cachewright.tasks.plan import SubStepSpec, build, effort
from cachewright.topologies import topology_of

_CHECK_SECONDS = 0.05
_STOP_SECONDS = 5.0
_PROXY_SECONDS = 0.4
_FORMATION_SECONDS = 0.2  # before the plan
_SECONDS_OF_NODE = 0.2  # before the plan


class CreateParams(msgspec.Struct, frozen=True, kw_only=True):
    """Properties of the new instance. `engine_version` is only shown."""

    spec_code: str
    engine_version: str = ""


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
        return Accepted(CreateParams(spec_code=request.flavor.spec_code, engine_version=request.engine_version))

    def expected_seconds(self, task: Task, nodes: Sequence[Node], dataset: int) -> float:
        return _FORMATION_SECONDS + _SECONDS_OF_NODE * len(nodes)

    async def plan(self, context: OperationContext, task: Task) -> tuple[Step, ...]:
        instance, nodes = await context.instance_and_nodes(task)
        await _set_should_run(context, nodes, should_run=True)
        topology = topology_of(self.params_of(task).spec_code)
        steps = {PRE_CHECK: [_check(len(nodes))], **topology.formation(nodes)}
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
        await asyncio.gather(*(context.host.stop(node.id, _STOP_SECONDS) for node in nodes))

    def succeeded(self, context: OperationContext, connection: sa.Connection, task: Task) -> None:
        spec_code = parse(self.params_of(task).spec_code).spec_code
        instances.change(connection, task.instance_id, launched_at=now_ms(), spec_code=spec_code)


def room_for_new(flavor: Flavor, count: int) -> RoomRequest:
    """Room that `count` new instances of one flavor require."""
    size = capacity.size_of(flavor) * count
    return RoomRequest(instances=count, size=size, disk=capacity.disk_bytes(0, 0, size.nodes))


async def _set_should_run(context: OperationContext, nodes: Sequence[Node], *, should_run: bool) -> None:
    """Record that the nodes should run, or no longer; a retry after a failure starts them again."""

    def write() -> None:
        with context.database.write() as connection:
            for node in nodes:
                instances.change_node(connection, node.id, should_run=should_run)

    await asyncio.to_thread(write)


def _check(nodes: int) -> SubStepSpec:
    """Check of the free memory and disk for the start of this number of empty nodes."""
    requirements = CheckResources(
        host_bytes=capacity.EMPTY_NODE * nodes, disk_bytes=capacity.disk_bytes(0, 0, nodes), rooms=()
    )
    return check_resources.sub_step(RESOURCE_CHECK, effort("check", seconds=_CHECK_SECONDS), requirements)


CREATE = Create()
