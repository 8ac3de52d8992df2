"""Complete slots that an interrupted key by key migration has left open.

Clients reach all keys of an open slot, so it may stay open until its target answers again. It is always completed and
never given back, because the target may have got new keys.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import aclosing, suppress

from cachewright.model.instances import Node
from cachewright.valkey.access import Access
from cachewright.valkey.client import NODE_GONE, NodeBusy, NodeRefused, ask, connect
from cachewright.valkey.migration.failure import MigrationFailed
from cachewright.valkey.migration.key_mover import key_mover
from cachewright.valkey.migration.source_state import MigrationState
from cachewright.valkey.topology import Member, View


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
    unused = [
        slot for slot, source_id in (own.importing if own else {}).items() if not _migrates(views, source_id, slot)
    ]
    if unused:
        with suppress(*NODE_GONE, NodeRefused):
            async with connect(node, access) as client:
                for slot in unused:
                    await ask(client, "CLUSTER", "SETSLOT", slot, "STABLE")


def _migrates(views: Mapping[str, View | None], source_id: str, slot: int) -> bool:
    """Whether the source has the slot open, or does not answer."""
    source = views.get(source_id)
    member: Member | None = source.members.get(source_id) if source else None
    return member is None or slot in member.migrating
