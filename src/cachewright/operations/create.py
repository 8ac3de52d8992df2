"""Creating a cluster: every node starts at once and leads its own slots, then all are told of each other."""

import asyncio

import sqlalchemy as sa

from cachewright.clock import now_ms
from cachewright.flavors import parse
from cachewright.model.instances import Node
from cachewright.model.tasks import Step, Task
from cachewright.operations.kinds import CREATE, PRE_CHECK, RESOURCE_CHECK
from cachewright.operations.operation import InstanceOperation
from cachewright.placement import capacity
from cachewright.store import instances
from cachewright.tasks.plan import SubStepSpec, build, effort

_START_SECONDS = 0.15
_STOP_SECONDS = 5.0
_FORM_SECONDS, _FORM_SECONDS_A_NODE = 0.2, 0.06


class Create(InstanceOperation):
    kind = CREATE

    async def plan(self, task: Task) -> tuple[Step, ...]:
        nodes = await self.site.nodes(task.instance_id)
        await self._set_should_run(nodes, should_run=True)
        forming = _FORM_SECONDS + _FORM_SECONDS_A_NODE * len(nodes)
        return build(
            task.run_id,
            {
                PRE_CHECK: [
                    SubStepSpec(
                        name=RESOURCE_CHECK,
                        action="check resources",
                        work=effort("check", seconds=0.05),
                        arguments={
                            "host_bytes": capacity.EMPTY_NODE * len(nodes),
                            "disk_bytes": capacity.disk_bytes(0, 0, len(nodes)),
                            "rooms": [],
                        },
                    )
                ],
                "Resource request.": [
                    SubStepSpec(
                        name=f"Node start. Shard {node.shard}, {node.role}",
                        action="start node",
                        work=effort(node.id, seconds=_START_SECONDS),
                        arguments={"node_id": node.id, "founding": True},
                    )
                    for node in nodes
                ],
                "Cluster formation.": [
                    SubStepSpec(
                        name="Cluster formation.",
                        action="form cluster",
                        work=effort("cluster", unit="nodes", total=len(nodes), seconds=forming),
                    )
                ],
            },
        )

    async def recover(self, task: Task) -> None:
        """What started is stopped; the record stays for the caller to read and delete."""
        nodes = await self.site.nodes(task.instance_id)
        await self._set_should_run(nodes, should_run=False)
        await asyncio.gather(*(self.site.host.stop(node.id, _STOP_SECONDS) for node in nodes))

    async def _set_should_run(self, nodes: list[Node], *, should_run: bool) -> None:
        """A creation that is tried again wants again what the failed one had given up."""

        def write() -> None:
            with self.site.database.write() as connection:
                for node in nodes:
                    instances.change_node(connection, node.id, should_run=should_run)

        await asyncio.to_thread(write)

    def succeeded(self, connection: sa.Connection, task: Task) -> None:
        spec_code = parse(task.params["spec_code"]).spec_code
        instances.change(connection, task.instance_id, launched_at=now_ms(), spec_code=spec_code)
