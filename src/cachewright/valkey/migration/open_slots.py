"""Complete slots that an interrupted key by key migration has left open.

Clients reach all keys of an open slot, so it may stay open until its target answers again. It is always completed and
never given back, because the target may have got new keys.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing, suppress

from cachewright.model.instances import Node
from cachewright.valkey.access import Access
from cachewright.valkey.client import NODE_GONE, NodeBusy, NodeRefused, ask, connect
from cachewright.valkey.migration.failure import MigrationFailed
from cachewright.valkey.migration.key_mover import key_mover
from cachewright.valkey.migration.source_state import MigrationState
from cachewright.valkey.topology import View
from cachewright.valkey.topology import views as ask_views


async def complete_open_slots(
    source: Node, view: View, primary_of: Callable[[str], Node], access: Access, state: MigrationState
) -> int:
    """Complete all slots that `source` has open in its view. Return how many there were.

    `primary_of` returns the present primary of a node's shard. Raises MigrationFailed if a node does not answer or
    refuses; NodeBusy if it is busy.
    """
    own = view.members.get(source.id)
    by_target: dict[str, list[int]] = defaultdict(list)
    for slot, target_id in (own.migrating if own else {}).items():
        by_target[target_id].append(slot)
    for target_id, slots in by_target.items():
        try:
            async with (
                state.targets.turn(target_id, "keys"),
                key_mover(source, primary_of(target_id), access, state) as keys,
                aclosing(keys.resume(slots)) as moving,
            ):
                async for _ in moving:
                    pass
        except NodeBusy:
            raise
        except (*NODE_GONE, NodeRefused) as error:
            raise MigrationFailed([f"node {source.id} has slots open to node {target_id}: {error}"]) from error
    return sum(map(len, by_target.values()))


async def close_unused_imports(node: Node, view: View, views: Mapping[str, View | None], access: Access) -> None:
    """Close slots that a target has opened and whose source has not: no client was sent there. No move may be running.
    Ignores a node that does not answer or refuses."""
    own = view.members.get(node.id)
    unused = [slot for slot in (own.importing if own else {}) if not _may_migrate(slot, view, views)]
    if unused:
        with suppress(*NODE_GONE, NodeRefused):
            async with connect(node, access) as client:
                for slot in unused:
                    await ask(client, "CLUSTER", "SETSLOT", slot, "STABLE")


async def close_imports_before_move(target: Node, nodes: Sequence[Node], access: Access, state: MigrationState) -> None:
    """Close unused imports of a target, because it refuses atomic migrations while it imports a slot. Other sources
    may move slots to it."""
    async with state.targets.turn(target.id, "batches"):
        views = await ask_views(nodes, access)
        if view := views[target.id]:
            await close_unused_imports(target, view, views, access)


def _may_migrate(slot: int, view: View, views: Mapping[str, View | None]) -> bool:
    """Whether a node has the slot open, or its owner in `view` does not answer."""
    owner = next((member.id for member in view.members.values() if any(slot in part for part in member.slots)), None)
    answered = {
        node_id: found.members[node_id] for node_id, found in views.items() if found and node_id in found.members
    }
    return owner not in answered or any(slot in member.migrating for member in answered.values())
