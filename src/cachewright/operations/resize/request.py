"""Requirements of a resize on the instance, the host and the quota; and the stored parameters of its task. Pure."""

from collections import Counter
from collections.abc import Sequence

import msgspec

from cachewright import errors
from cachewright.errors import ApiError
from cachewright.flavors import Flavor, UnknownFlavor, parse
from cachewright.model.instances import Instance, Node, allowed_addresses, node_elsewhere
from cachewright.model.tasks import Control, Step
from cachewright.operations.operation import Accepted
from cachewright.operations.requests import ResizeRequest
from cachewright.operations.resize.named_nodes import resolve
from cachewright.operations.resize.replica_plan import NamedNodes
from cachewright.placement import capacity
from cachewright.placement.capacity import Request as RoomRequest
from cachewright.placement.capacity import Size
from cachewright.topologies import becomes_cluster, topology_of

_SECONDS_BESIDES = 1.0
_BYTES_PER_SECOND = 20e6


RESIZE_KIND = "resize"
"""Kind of the operation. Stored with its tasks, so it never changes."""


class ResizeParams(msgspec.Struct, frozen=True, kw_only=True):
    """The size that the instance gets. `new_capacity`, in GB as the cloud prints it, is only shown. `stay` and `leave`
    are ids of nodes that the caller named, see `replica_plan.NamedNodes`. `replaces_nodes`: the instance becomes a
    cluster, of other nodes."""

    spec_code: str
    new_capacity: str = ""
    stay: tuple[str, ...] = ()
    leave: tuple[str, ...] = ()
    replaces_nodes: bool = False

    @property
    def named(self) -> NamedNodes:
        return NamedNodes(frozenset(self.stay), frozenset(self.leave))


class ResizeDetails(msgspec.Struct, frozen=True, kw_only=True):
    """Both sizes, in the cloud's words."""

    old_capacity: str
    new_capacity: str
    old_resource_spec_code: str
    new_resource_spec_code: str
    old_cache_mode: str
    new_cache_mode: str
    old_replica_num: int
    new_replica_num: int


def validate(instance: Instance, nodes: Sequence[Node], request: ResizeRequest) -> Accepted[ResizeParams]:
    """ApiError DCS.4927, DCS.4012, DCS.4102 (a change that is not served), DCS.4103 (no change), or as
    `named_nodes.resolve`.

    The present size is no change, unless a failed resize has left the instance with another number or size of nodes.
    """
    try:
        new = parse(request.spec_code)
    except UnknownFlavor as unknown:
        raise ApiError(errors.INVALID_SPEC_CODE, reason=str(unknown)) from unknown
    old = parse(instance.spec_code)
    if request.capacity_mb is not None and request.capacity_mb != new.capacity_mb:
        raise ApiError(
            errors.INVALID_CAPACITY, reason=f"new_capacity is not the {new.capacity_gb} GB of {new.spec_code}"
        )
    if not topology_of(old.spec_code).can_become(old, new):
        raise ApiError(errors.UNSUPPORTED_RESIZE, reason=_unsupported(old, new))
    replaces_nodes = becomes_cluster(old.spec_code, new.spec_code)
    if replaces_nodes:
        _require_replaceable(instance, nodes, request)
    copies = Counter(node.shard for node in nodes)
    is_complete = sorted(copies.values()) == [old.copies] * old.shards
    if new.same_nodes(old) and is_complete and all(node.maxmemory == new.shard_bytes for node in nodes):
        raise ApiError(errors.RESIZE_WITHOUT_CHANGE, reason=f"the instance is {old.spec_code} already")
    details = ResizeDetails(
        old_capacity=old.capacity_gb,
        new_capacity=new.capacity_gb,
        old_resource_spec_code=old.spec_code,
        new_resource_spec_code=new.spec_code,
        old_cache_mode=old.cache_mode,
        new_cache_mode=new.cache_mode,
        old_replica_num=old.copies,
        new_replica_num=new.copies,
    )
    named = NamedNodes()
    if not replaces_nodes:
        named = resolve(instance, nodes, new, reserved=request.reserved_ip, removed=request.node_list)
    params = ResizeParams(
        spec_code=new.spec_code,
        new_capacity=new.capacity_gb,
        stay=tuple(sorted(named.stay)),
        leave=tuple(sorted(named.leave)),
        replaces_nodes=replaces_nodes,
    )
    return Accepted(params, msgspec.structs.asdict(details), Control(mode=request.mode), request.in_window)


def expected_seconds(steps: Sequence[Step], nodes: Sequence[Node], params: ResizeParams, dataset: int) -> float:
    """Expected duration of a resize before its plan exists; with a plan, that of its moves at the same pace. `dataset`
    is the instance's data in bytes."""
    sub_steps = [sub for step in steps for sub in step.sub_steps]
    moved = sum(sub.work.total for sub in sub_steps if sub.work.unit == "bytes")
    if not sub_steps:
        flavor = parse(params.spec_code)
        moved = capacity.moved_bytes(dataset, len({node.shard for node in nodes}), flavor.shards)
        moved += dataset if params.replaces_nodes else capacity.copied_bytes(dataset, nodes, flavor)
    return _SECONDS_BESIDES + moved / _BYTES_PER_SECOND


def required_room(nodes: Sequence[Node], params: ResizeParams, dataset: int | None = None) -> RoomRequest:
    """Room that an instance of these nodes requires at its largest during the resize. `dataset` is its data in bytes;
    None leaves the disk out."""
    flavor = parse(params.spec_code)
    held, size = capacity.size_of_nodes(nodes), capacity.size_during_resize(nodes, flavor)
    if params.replaces_nodes:
        return _room_beside(nodes, flavor, dataset)
    if dataset is None:
        return RoomRequest(size=size, held=held, grown=capacity.grown_nodes(nodes, flavor))
    moved = capacity.moved_bytes(dataset, len({node.shard for node in nodes}), flavor.shards)
    disk = capacity.disk_bytes(moved, flavor.copies, size.nodes - held.nodes)
    copied = capacity.disk_bytes(capacity.copied_bytes(dataset, nodes, flavor), 1, 0)
    return RoomRequest(size=size, held=held, disk=disk + copied, grown=capacity.grown_nodes(nodes, flavor))


def _room_beside(nodes: Sequence[Node], flavor: Flavor, dataset: int | None) -> RoomRequest:
    """Room of nodes that a cluster replaces. The nodes of its first shard have as much memory as they have."""
    held, rest = capacity.size_of_nodes(nodes), capacity.size_of(flavor)
    first = Size(1, max([flavor.shard_bytes, *(node.maxmemory for node in nodes)]))
    size = held + first * flavor.copies + (rest - Size(1, flavor.shard_bytes) * flavor.copies)
    if dataset is None:
        return RoomRequest(size=size, held=held)
    moved = capacity.moved_bytes(dataset, 1, flavor.shards)
    copied = capacity.disk_bytes(dataset, 1, 0)
    return RoomRequest(size=size, held=held, disk=capacity.disk_bytes(moved, flavor.copies, rest.nodes) + copied)


def kept_by_no_cluster(instance: Instance, nodes: Sequence[Node]) -> str | None:
    """Return what the instance has and would not keep as a cluster of other nodes, as a reason; None if nothing."""
    if instance.server_certificate is not None:
        return (
            "clients connect with TLS, which the proxy terminates, and this instance could have none as a cluster; "
            "switch TLS off first, or create a cluster with TLS and migrate the data into it"
        )
    if allowed_addresses(instance) is not None:
        return "the proxy enforces the whitelist until the change, which removes it; switch the whitelist off first"
    away = node_elsewhere(nodes)
    return f"the node that takes over runs on the host of the server, but {away}" if away else None


def _require_replaceable(instance: Instance, nodes: Sequence[Node], request: ResizeRequest) -> None:
    """ApiError DCS.4102 if the instance cannot be a cluster of other nodes, or if nodes are named: none stays."""
    reason = kept_by_no_cluster(instance, nodes)
    if request.reserved_ip or request.node_list:
        reason = reason or "no node stays, so reserved_ip and node_list can name none"
    if reason:
        raise ApiError(errors.UNSUPPORTED_RESIZE, reason=reason)


def _unsupported(old: Flavor, new: Flavor) -> str:
    is_kin = old.cache_mode == new.cache_mode or {old.cache_mode, new.cache_mode} == {"single", "ha"}
    if is_kin and old.cpu_type == new.cpu_type and old.copies != new.copies and not old.same_size(new):
        return "the capacity and the number of replicas change in separate requests"
    return f"{old.spec_code} cannot become {new.spec_code}"
