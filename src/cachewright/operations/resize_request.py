"""What a resize asks for, held against what the instance is now; and the task's record of it."""

from typing import Any

import sqlalchemy as sa

from cachewright import errors
from cachewright.errors import ApiError
from cachewright.flavors import Flavor, UnknownFlavor, parse
from cachewright.model.instances import Instance
from cachewright.operations.requests import ResizeRequest
from cachewright.store import instances
from cachewright.topologies import topology_of


def sizes(connection: sa.Connection, instance: Instance, wish: ResizeRequest) -> tuple[Flavor, Flavor]:
    """What the instance is and what it is wished to be. ApiError where it cannot be.

    The size it has already is no change, unless a scale that failed has left it with another number of shards.
    """
    try:
        new = parse(wish.spec_code)
    except UnknownFlavor as unknown:
        raise ApiError(errors.INVALID_SPEC_CODE, reason=str(unknown)) from unknown
    old = parse(instance.spec_code)
    if wish.capacity_mb is not None and wish.capacity_mb != new.capacity_mb:
        raise ApiError(
            errors.INVALID_CAPACITY, reason=f"new_capacity is not the {new.capacity_gb} GB of {new.spec_code}"
        )
    if not topology_of(old.spec_code).can_become(old, new):
        raise ApiError(errors.UNSUPPORTED_RESIZE, reason=f"{old.spec_code} cannot become {new.spec_code}")
    shards = {node.shard for node in instances.nodes_of(connection, instance.id)}
    if new.same_size(old) and len(shards) == old.shards:
        raise ApiError(errors.RESIZE_WITHOUT_CHANGE, reason=f"the instance is {old.spec_code} already")
    return old, new


def params(new: Flavor) -> dict[str, Any]:
    return {"spec_code": new.spec_code, "new_capacity": new.capacity_gb}


def details(old: Flavor, new: Flavor) -> dict[str, Any]:
    return {
        "old_capacity": old.capacity_gb,
        "new_capacity": new.capacity_gb,
        "old_resource_spec_code": old.spec_code,
        "new_resource_spec_code": new.spec_code,
        "old_cache_mode": old.cache_mode,
        "new_cache_mode": new.cache_mode,
        "old_replica_num": old.copies,
        "new_replica_num": new.copies,
    }
