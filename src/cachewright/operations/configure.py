"""Changing parameters of an instance: on every node, or on none.

Nodes are changed one after another. When one refuses, all get their old values back. The record changes last, in the
transaction that ends the task, so a server that dies in between either finishes the change or takes it back.
"""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from cachewright.model.instances import Instance, Node
from cachewright.model.tasks import Step, Task
from cachewright.operations.actions.parameters import new_values, restore_parameters
from cachewright.operations.kinds import CONFIGURE, POST_CHECK
from cachewright.operations.operation import InstanceOperation
from cachewright.store import instances
from cachewright.tasks.plan import SubStepSpec, build, effort
from cachewright.valkey.parameters import BY_NAME, values

_NODE_SECONDS = 0.02
_CHECK_SECONDS = 0.05
_LANE = "nodes"


def changes(instance: Instance, changed: Mapping[str, str]) -> dict[str, Any]:
    """What a task records of a change: each parameter with its old and its new value."""
    recorded = values(instance.parameters)
    return {
        "redis_config": [
            {"param_id": BY_NAME[name].id, "param_name": name, "old_value": recorded[name], "new_value": value}
            for name, value in changed.items()
        ]
    }


class Configure(InstanceOperation):
    kind = CONFIGURE

    async def plan(self, task: Task) -> tuple[Step, ...]:
        nodes = [node for node in await self.site.nodes(task.instance_id) if node.should_run]
        check = SubStepSpec(
            name="Parameter check.", action="check parameters", work=effort("check", seconds=_CHECK_SECONDS)
        )
        return build(task.run_id, {"Parameter change.": [_change(node) for node in nodes], POST_CHECK: [check]})

    async def recover(self, task: Task) -> None:
        """Every node has its old values again, or gets them when it is back."""
        instance = await self.site.instance(task)
        nodes = await self.site.nodes(task.instance_id)
        recorded = values(instance.parameters)
        await restore_parameters(self.site, instance, nodes, {name: recorded[name] for name in new_values(task)})

    def succeeded(self, connection: sa.Connection, task: Task) -> None:
        instance = instances.find(connection, task.instance_id)
        if instance is not None:
            instances.change(connection, task.instance_id, parameters={**instance.parameters, **new_values(task)})


def _change(node: Node) -> SubStepSpec:
    return SubStepSpec(
        name=f"Parameter change. Shard {node.shard}, {node.role}",
        action="set parameters",
        work=effort(_LANE, seconds=_NODE_SECONDS),
        arguments={"node_id": node.id},
    )
