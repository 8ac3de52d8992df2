"""Creation of an instance: its nodes start, and the topology makes an instance of them."""

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
from cachewright.topologies import topology_of

_STOP_SECONDS = 5.0


class Create(InstanceOperation):
    kind = CREATE

    async def plan(self, task: Task) -> tuple[Step, ...]:
        nodes = await self.site.nodes(task.instance_id)
        await self._set_should_run(nodes, should_run=True)
        topology = topology_of(task.params["spec_code"])
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
                **topology.formation(nodes),
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
