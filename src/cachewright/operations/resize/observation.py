"""Fetching the state of a cluster before a resize: everything that its plan depends on, once."""

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence

from cachewright.model.instances import Node
from cachewright.model.tasks import Task
from cachewright.operations.context import OperationContext, best_view
from cachewright.operations.resize.cost_model import Host
from cachewright.operations.resize.mode_forecast import load_waits
from cachewright.operations.resize.plan import Observation
from cachewright.operations.resize.small_batches import load_small_batches, load_small_shares
from cachewright.store import task_controls
from cachewright.topologies import topology_of
from cachewright.valkey.access import Access
from cachewright.valkey.client import ANSWER_SECONDS
from cachewright.valkey.node_load import NodeLoad, measure_load
from cachewright.valkey.single_request import info
from cachewright.valkey.slots import SlotRange
from cachewright.valkey.topology import primaries as current_primaries


async def observe(context: OperationContext, task: Task) -> Observation:
    """Read the record and query every node of the task's instance. ActionFailed DCS.9004 if no node responds; NODE_GONE
    or NodeRefused if a primary does not, NodeBusy if any node is busy."""
    instance, nodes, views = await context.look(task, needed="all")
    view = best_view(views)
    owned = view.owned()
    counted = owned if topology_of(instance.spec_code).is_cluster else {}  # only a cluster counts keys by slot
    primaries = current_primaries([node for node in nodes if node.should_run], view)
    large_slots = context.migrations.large_slots
    known = large_slots.get(instance.id, frozenset())
    loads, host = await asyncio.gather(
        _loads(primaries.values(), counted, context.access(instance), known),
        asyncio.to_thread(_host, context, task),
    )
    if found := frozenset(slot for load in loads.values() for slot in load.large):
        large_slots[instance.id] = found
    else:
        large_slots.pop(instance.id, None)
    return Observation(
        instance=instance, nodes=nodes, views=views, primaries=primaries, owned=owned, loads=loads, host=host
    )


async def observe_keyspace(context: OperationContext, observed: Observation) -> Mapping[str, str]:
    """Return the fields of INFO keyspace of the only primary. Raises one of NODE_GONE or NodeRefused."""
    (primary,) = observed.primaries.values()
    return await info(primary, context.access(observed.instance), ("keyspace",), ANSWER_SECONDS)


async def _loads(
    primaries: Iterable[Node], owned: Mapping[str, Sequence[SlotRange]], access: Access, large_slots: Collection[int]
) -> dict[str, NodeLoad]:
    """Loads by node id. Keys are counted in the slots in `owned`."""

    async def measure(node: Node) -> tuple[str, NodeLoad]:
        return node.id, await measure_load(node, access, owned.get(node.id, ()), large_slots)

    return dict(await asyncio.gather(*map(measure, primaries)))


def _host(context: OperationContext, task: Task) -> Host:
    with context.database.read() as connection:
        mode = task_controls.get(connection, task.id).mode
        load_waits(connection, context.migrations.waits)
        small_shares = load_small_shares(connection, task.instance_id)
        small_batches = load_small_batches(connection, task.instance_id)
    migrations = context.migrations
    return Host(
        turns=migrations.concurrency,
        mode=mode,
        waits=migrations.waits.model,
        small_share=small_shares[True],
        small_share_without=small_shares[False],
        small_batches=small_batches,
    )
