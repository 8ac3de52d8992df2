"""Deleting an instance: every node ends, every file goes, the record goes last."""

from cachewright.model.tasks import Step, Task
from cachewright.operations.kinds import DELETE
from cachewright.operations.operation import InstanceOperation
from cachewright.tasks.plan import SubStepSpec, build, effort

_STOP_SECONDS = 0.2


class Delete(InstanceOperation):
    kind = DELETE

    async def plan(self, task: Task) -> tuple[Step, ...]:
        nodes = await self.site.nodes(task.instance_id)
        return build(
            task.run_id,
            {
                "Resource release.": [
                    SubStepSpec(
                        name=f"Node stop. Shard {node.shard}, {node.role}",
                        action="stop node",
                        work=effort(node.id, seconds=_STOP_SECONDS),
                        arguments={"node_id": node.id},
                    )
                    for node in nodes
                ]
            },
        )
