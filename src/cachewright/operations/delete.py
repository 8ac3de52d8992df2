"""Deleting an instance: every node ends, every file goes, the record goes last."""

from cachewright.operations.kinds import DELETE
from cachewright.operations.operation import InstanceOperation
from cachewright.store.records import Step, Task
from cachewright.tasks.plan import Draft, build, work

_STOP_SECONDS = 0.2


class Delete(InstanceOperation):
    kind = DELETE

    async def plan(self, task: Task) -> tuple[Step, ...]:
        nodes = await self.site.nodes(task.instance_id)
        return build(
            task.run_id,
            {
                "Resource release.": [
                    Draft(
                        name=f"Node stop. Shard {node.shard}, {node.role}",
                        action="stop node",
                        work=work(node.id, seconds=_STOP_SECONDS),
                        arguments={"node_id": node.id},
                    )
                    for node in nodes
                ]
            },
        )
