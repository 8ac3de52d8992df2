"""Deletion of all keys of an instance. Nodes, parameters and accounts stay.

Writes that clients send before the task has ended may be deleted too.
"""

import asyncio
from collections.abc import Sequence

from cachewright import errors
from cachewright.model.instances import Instance, Node
from cachewright.model.tasks import Step, Task
from cachewright.operations.actions.flush import FlushShard, flush_shard
from cachewright.operations.context import OperationContext, best_view
from cachewright.operations.operation import Accepted, NoParams, Operation
from cachewright.tasks.operation import ActionFailed
from cachewright.tasks.plan import SubStepSpec, build, effort
from cachewright.valkey import key_deletion
from cachewright.valkey.key_deletion import DeletionState
from cachewright.valkey.topology import primaries

_BYTES_PER_SECOND = 500_000_000.0  # before the first flush; Valkey frees memory on one thread
_SECONDS = 0.1


class Flush(Operation[None, NoParams]):
    kind = "flush"
    name = "FlushInstance"
    permission = "dcs:instance:modifyStatus"
    params = NoParams
    outline = ("Data deletion.",)
    busy = errors.INSTANCE_STATE_CONFLICT
    interruptible = False
    status_while_running = "FLUSHING"

    def validate(self, instance: Instance, nodes: Sequence[Node], request: None) -> Accepted[NoParams]:
        return Accepted(NoParams())

    def expected_seconds(self, task: Task, nodes: Sequence[Node], dataset: int) -> float:
        shards = max(len({node.shard for node in nodes}), 1)
        return _SECONDS + dataset / shards / _BYTES_PER_SECOND

    async def plan(self, context: OperationContext, task: Task) -> tuple[Step, ...]:
        instance, nodes, views = await context.look(task)
        leads = primaries(nodes, best_view(views))
        for shard in sorted({node.shard for node in nodes} - leads.keys()):
            raise ActionFailed(errors.CLUSTER_NOT_HEALTHY_IN_TIME, f"shard {shard} has no primary now")
        access = context.access(instance)
        states = await asyncio.gather(*(key_deletion.state(lead, access) for lead in leads.values()))
        shards = [_flush(lead, state) for lead, state in zip(leads.values(), states, strict=True)]
        return build(task.run_id, {"Data deletion.": sorted(shards, key=lambda sub_step: sub_step.name)})


def _flush(lead: Node, state: DeletionState) -> SubStepSpec:
    seconds = _SECONDS + state.used_memory / _BYTES_PER_SECOND
    work = effort(lead.id, unit="bytes", total=max(state.used_memory, 1), seconds=seconds)
    arguments = FlushShard(node_id=lead.id, keys=state.keys, used_memory=state.used_memory)
    return flush_shard.sub_step(f"Data deletion. Shard {lead.shard}", work, arguments)


FLUSH = Flush()
