"""Fetching the state of a cluster before a resize: everything that its plan depends on, once."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence

from cachewright.model.instances import Node
from cachewright.model.tasks import Task
from cachewright.operations.context import OperationContext, best_view
from cachewright.operations.resize_estimate import BYTES_PER_SECOND, PACE, Load, Speed
from cachewright.operations.resize_plan import Observation
from cachewright.store import task_controls, throughput
from cachewright.topologies import topology_of
from cachewright.valkey import slots
from cachewright.valkey.access import Access
from cachewright.valkey.client import connect
from cachewright.valkey.client_activity import client_activity
from cachewright.valkey.migration import jobs
from cachewright.valkey.slots import SlotRange
from cachewright.valkey.topology import primaries as current_primaries

_BYTES_PER_KEY = 100.0  # of a cluster without keys


async def observe(context: OperationContext, task: Task) -> Observation:
    """Reads the record and every node of the task's instance. ActionFailed DCS.9004 where no node answers; NODE_GONE
    or NodeRefused where a primary does not."""
    instance, nodes, views = await context.look(task)
    view = best_view(views)
    owned = view.owned()
    counted = owned if topology_of(instance.spec_code).has_peers else {}  # only a cluster counts keys by slot
    primaries = current_primaries([node for node in nodes if node.should_run], view)
    loads, speed = await asyncio.gather(
        _loads(primaries.values(), counted, context.access(instance)),
        asyncio.to_thread(_speed, context, task),
    )
    return Observation(
        instance=instance, nodes=nodes, views=views, primaries=primaries, owned=owned, loads=loads, speed=speed
    )


async def _loads(
    primaries: Iterable[Node], owned: Mapping[str, Sequence[SlotRange]], access: Access
) -> dict[str, Load]:
    """By node id; keys are counted in the slots that `owned` names."""

    async def load(node: Node) -> tuple[str, Load]:
        async with connect(node, access) as client:
            keys = await jobs.count_keys(client, slots.slots_of(owned.get(node.id, ())))
            memory = await client.info("memory")
            total = await client.dbsize()
            clients = (await client_activity(client)).connected > 0
        bytes_per_key = memory["used_memory_dataset"] / total if total else _BYTES_PER_KEY
        return node.id, Load(memory["used_memory"], bytes_per_key, keys, clients)

    return dict(await asyncio.gather(*map(load, primaries)))


def _speed(context: OperationContext, task: Task) -> Speed:
    with context.database.read() as connection:
        pace = throughput.get(connection, PACE) or BYTES_PER_SECOND
        priority = task_controls.get(connection, task.id).priority
    return Speed(pace=pace, turns=context.migrations.concurrency, protects_clients=priority != "speed")
