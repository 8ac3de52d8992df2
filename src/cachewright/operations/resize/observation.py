"""Fetching the state of a cluster before a resize: everything that its plan depends on, once."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence

from cachewright.model.instances import Node
from cachewright.model.tasks import Task
from cachewright.operations.context import OperationContext, best_view
from cachewright.operations.resize.estimate import BYTES_PER_SECOND, KEY_PACE, KEYS_PER_SECOND, PACE, Speed
from cachewright.operations.resize.mode_forecast import load_waits
from cachewright.operations.resize.plan import Observation
from cachewright.store import task_controls, throughput
from cachewright.topologies import topology_of
from cachewright.valkey.access import Access
from cachewright.valkey.node_load import NodeLoad, measure_load
from cachewright.valkey.slots import SlotRange, slots_of
from cachewright.valkey.topology import primaries as current_primaries


async def observe(context: OperationContext, task: Task) -> Observation:
    """Read the record and query every node of the task's instance. ActionFailed DCS.9004 if no node responds; NODE_GONE
    or NodeRefused if a primary does not, NodeBusy if any node answers again later."""
    instance, nodes, views = await context.look(task, needed="all")
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
) -> dict[str, NodeLoad]:
    """Loads by node id. Keys are counted in the slots in `owned`."""

    async def measure(node: Node) -> tuple[str, NodeLoad]:
        return node.id, await measure_load(node, access, slots_of(owned.get(node.id, ())))

    return dict(await asyncio.gather(*map(measure, primaries)))


def _speed(context: OperationContext, task: Task) -> Speed:
    with context.database.read() as connection:
        pace = throughput.get(connection, PACE) or BYTES_PER_SECOND
        key_pace = throughput.get(connection, KEY_PACE) or KEYS_PER_SECOND
        mode = task_controls.get(connection, task.id).mode
        load_waits(connection, context.migrations.waits)
    return Speed(
        pace=pace,
        key_pace=key_pace,
        turns=context.migrations.concurrency,
        mode=mode,
        waits=context.migrations.waits.model,
    )
