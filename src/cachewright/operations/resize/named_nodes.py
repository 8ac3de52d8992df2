"""Nodes that the caller of a resize named: those that stay (`reserved_ip`) and those that leave (`node_list`). Pure.

All nodes of an instance can have the same IP address, which then names none of them in particular. `address:port` names
one node in any case.
"""

from collections.abc import Sequence

from cachewright import errors
from cachewright.errors import ApiError
from cachewright.flavors import Flavor
from cachewright.model.instances import Instance, Node
from cachewright.operations.resize.replica_plan import NamedNodes, by_shard, seed_of


def resolve(
    instance: Instance, nodes: Sequence[Node], new: Flavor, *, reserved: Sequence[str], removed: Sequence[str]
) -> NamedNodes:
    """Return the named nodes. Raises ApiError DCS.4062 (`reserved_ip`) or DCS.4930 (`node_list`) if a node does not
    exist, or if the instance could not have its new size with these nodes staying and leaving."""
    shrinks = len({node.shard for node in nodes}) > new.shards or _surplus(nodes, new)
    if reserved and not shrinks:
        raise _invalid_address("no node is removed")
    if removed and not _surplus(nodes, new):
        raise ApiError(errors.INVALID_NODE_LIST, reason="no replica is removed")
    stay = frozenset().union(*(_at(address, nodes) for address in reserved))
    leave = frozenset(removed)
    _require_removable(instance, nodes, new, leave)
    _require_room(instance, nodes, new, stay)
    if both := stay & leave:
        raise ApiError(errors.INVALID_NODE_LIST, reason=f"reserved_ip names node {min(both)} too")
    return NamedNodes(stay, leave)


def _at(address: str, nodes: Sequence[Node]) -> frozenset[str]:
    found = frozenset(node.id for node in nodes if address in {node.host, f"{node.host}:{node.port}"})
    if not found:
        raise _invalid_address(f"the instance has no node at {address!r}")
    return frozenset() if len(found) == len(nodes) else found


def _surplus(nodes: Sequence[Node], new: Flavor) -> bool:
    return any(len(copies) > new.copies for copies in by_shard(nodes).values())


def _require_removable(instance: Instance, nodes: Sequence[Node], new: Flavor, leave: frozenset[str]) -> None:
    for node_id in leave - {node.id for node in nodes}:
        raise ApiError(errors.INVALID_NODE_LIST, reason=f"the instance has no node {node_id!r}")
    seed = seed_of(instance, nodes)
    if seed is not None and seed.id in leave:
        raise ApiError(errors.INVALID_NODE_LIST, reason=f"node {seed.id} stays: the instance has its address")
    for shard, copies in by_shard(nodes).items():
        named, most = sum(node.id in leave for node in copies), max(len(copies) - new.copies, 0)
        if named > most:
            raise ApiError(errors.INVALID_NODE_LIST, reason=f"{named} nodes of shard {shard} are named, {most} leave")


def _require_room(instance: Instance, nodes: Sequence[Node], new: Flavor, stay: frozenset[str]) -> None:
    """The node with the address of the instance stays too."""
    seed = seed_of(instance, nodes)
    staying = stay | ({seed.id} if seed is not None else set())
    shards = {node.shard for node in nodes if node.id in staying}
    if stay and len(shards) > new.shards:
        raise _invalid_address(f"with the node that has the instance's address, {len(shards)} shards would stay")
    for shard, copies in by_shard(nodes).items():
        if stay and sum(node.id in staying for node in copies) > new.copies:
            raise _invalid_address(f"of shard {shard} more than {new.copies} nodes would stay")


def _invalid_address(reason: str) -> ApiError:
    return ApiError(errors.INVALID_PARAMETER, parameter="reserved_ip", reason=reason)
