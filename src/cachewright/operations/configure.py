"""A change of an instance's parameters: on every node, or on none.

Nodes are changed one after another. When one refuses, all get their old values back. The record changes last, in the
transaction that ends the task, so a server that dies in between either finishes the change or reverts it.

If a parameter needs a restart, the nodes then restart one after another, as in `restart`. If that fails, nodes that
have restarted keep the new value of such a parameter until their next start; ListConfigurations shows it.
"""

import asyncio
from collections.abc import Sequence

import msgspec
import sqlalchemy as sa

from cachewright import errors
from cachewright.model.instances import Instance, Node
from cachewright.model.tasks import Step, Task
from cachewright.operations.actions.action import NoArguments, NodeArguments
from cachewright.operations.actions.parameters import (
    check_parameters,
    new_values,
    restart_with_parameters,
    restore_parameters,
    set_parameters,
)
from cachewright.operations.context import OperationContext
from cachewright.operations.operation import Accepted, Operation
from cachewright.operations.requests import ConfigureRequest
from cachewright.operations.restart import RESTART, nodes_to_restart
from cachewright.operations.step_names import NODE_RESTART, POST_CHECK
from cachewright.store import instances
from cachewright.tasks.plan import SubStepSpec, build, effort
from cachewright.valkey import node_control
from cachewright.valkey.parameters import BY_NAME, values

_NODE_SECONDS = 0.02
_EXPECTED_SECONDS = 0.2  # before the plan, besides the nodes
_CHECK_SECONDS = 0.05
_LANE = "nodes"


class ParameterChange(msgspec.Struct, frozen=True, kw_only=True):
    """One parameter, with its value before and after the change."""

    param_id: str
    param_name: str
    old_value: str
    new_value: str


class ConfigureParams(msgspec.Struct, frozen=True):
    """Every parameter that the task changes."""

    redis_config: tuple[ParameterChange, ...]


class Configure(Operation[ConfigureRequest, ConfigureParams]):
    kind = "configure"
    name = "UpdateInstanceConfig"
    permission = "dcs:instance:modifyConfigureation"
    params = ConfigureParams
    outline = ("Parameter change.", POST_CHECK)
    busy = errors.INSTANCE_CONFIGURING
    interruptible = False
    status_while_running = "RUNNING"

    def validate(
        self, instance: Instance, nodes: Sequence[Node], request: ConfigureRequest
    ) -> Accepted[ConfigureParams]:
        recorded = values(instance.parameters)
        changes = tuple(
            ParameterChange(param_id=BY_NAME[name].id, param_name=name, old_value=recorded[name], new_value=new_value)
            for name, new_value in request.values.items()
        )
        return Accepted(ConfigureParams(changes), {"updated_config_length": len(changes)})

    def expected_seconds(self, task: Task, nodes: Sequence[Node], dataset: int) -> float:
        restarts = any(BY_NAME[one["param_name"]].need_restart for one in task.params.get("redis_config", ()))
        of_restarts = RESTART.expected_seconds(task, nodes, dataset) if restarts else 0.0
        return _EXPECTED_SECONDS + _NODE_SECONDS * len(nodes) + of_restarts

    async def plan(self, context: OperationContext, task: Task) -> tuple[Step, ...]:
        nodes = [node for node in await context.nodes(task.instance_id) if node.should_run]
        steps = {"Parameter change.": [_change(node) for node in nodes]}
        if await self._need_restart(context, task, nodes):
            steps[NODE_RESTART] = [
                restart_with_parameters.sub_step(f"Node restart. {node.place}", node.work, NodeArguments(node.id))
                for node in await nodes_to_restart(context, task)
            ]
        check = check_parameters.sub_step("Parameter check.", effort("check", seconds=_CHECK_SECONDS), NoArguments())
        return build(task.run_id, {**steps, POST_CHECK: [check]})

    async def _need_restart(self, context: OperationContext, task: Task, nodes: Sequence[Node]) -> bool:
        """Whether a node has another value of a parameter that Valkey reads at its start only."""
        values = {name: value for name, value in new_values(task).items() if BY_NAME[name].need_restart}
        if not values:
            return False
        access = context.access(await context.instance(task))
        return any(await asyncio.gather(*(node_control.differs(node, access, values) for node in nodes)))

    async def recover(self, context: OperationContext, task: Task) -> None:
        """Restore the old values on every node; a node that does not respond gets them when it is back."""
        instance = await context.instance(task)
        nodes = await context.nodes(task.instance_id)
        recorded = values(instance.parameters)
        await restore_parameters(context, instance, nodes, {name: recorded[name] for name in new_values(task)})

    def succeeded(self, context: OperationContext, connection: sa.Connection, task: Task) -> None:
        instance = instances.find(connection, task.instance_id)
        if instance is not None:
            instances.change(connection, task.instance_id, parameters={**instance.parameters, **new_values(task)})


def _change(node: Node) -> SubStepSpec:
    name = f"Parameter change. Shard {node.shard}, {node.role}"
    return set_parameters.sub_step(name, effort(_LANE, seconds=_NODE_SECONDS), NodeArguments(node.id))


CONFIGURE = Configure()
