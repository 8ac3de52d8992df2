"""Shapes of ListFlavors."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache, lru_cache
from typing import Annotated, Literal

import msgspec

from cachewright import flavors
from cachewright.api.schemas.instance_bodies import capacity_mb
from cachewright.flavors import Flavor
from cachewright.topologies import TOPOLOGIES

ZONE = "local"
SERVICE_TYPE = "hws.service.type.dcs"
RESOURCE_TYPE = "hws.resource.type.dcs3"

_MAX_CLIENTS = 10_000


class FlavorsQuery(msgspec.Struct, frozen=True):
    """`spec_type` is documented in the reference, but not in the SDK. No flavor has the type `node`."""

    instance_id: str | None = None
    spec_code: str | None = None
    cache_mode: Literal["single", "ha", "ha_rw_split", "cluster", "proxy"] | None = None
    engine: str | None = None
    engine_version: str | None = None
    cpu_type: Literal["x86_64", "aarch64"] | None = None
    capacity: Annotated[float, msgspec.Meta(ge=0, le=1_000_000)] | None = None
    spec_type: Literal["instance", "node"] = "instance"


class Attribute(msgspec.Struct, frozen=True):
    capacity: str
    name: str
    value: str


class ZoneItem(msgspec.Struct, frozen=True):
    capacity: str
    unit: str
    available_zones: Sequence[str]
    az_codes: Sequence[str]


class FlavorItem(msgspec.Struct, frozen=True, kw_only=True):
    """`pricing_type` normal means that a spec code has one capacity. `tenant_ip_count` is the number of nodes."""

    spec_code: str
    cloud_service_type_code: str = SERVICE_TYPE
    cloud_resource_type_code: str = RESOURCE_TYPE
    cache_mode: str
    engine: str = "redis"
    engine_version: str = ";".join(flavors.ENGINE_VERSIONS)
    product_type: str = "generic"
    cpu_type: str
    storage_type: str = "DRAM"
    capacity: list[str]
    billing_mode: tuple[str, ...] = ("Hourly",)
    tenant_ip_count: int
    pricing_type: str = "normal"
    is_dec: bool = False
    attrs: list[Attribute]
    flavors_available_zones: list[ZoneItem]
    replica_count: int
    inquery_spec_code: str


class FlavorList(msgspec.Struct, frozen=True):
    flavors: list[FlavorItem]


def flavor_list(query: FlavorsQuery, zones: Mapping[str, tuple[str, ...]], resized: Flavor | None = None) -> FlavorList:
    """Return the flavors that match all filters. They are for the processor of the host, or that of the instance.

    Valid spec codes that are not listed can be found by `spec_code`. Clusters of one or two shards are listed only for
    a resize: terraform takes the flavor with the fewest nodes of a capacity, and such a cluster cannot replace a
    primary by vote.

    :param zones: zones with hosts that take new nodes, by cache mode.
    :param resized: flavor of an instance, to list only the flavors to which it can be resized.
    """
    if query.engine and query.engine.lower() != "redis":
        return FlavorList([])
    if query.engine_version and query.engine_version not in flavors.ENGINE_VERSIONS:
        return FlavorList([])
    if query.spec_type == "node" or query.cache_mode not in {None, *TOPOLOGIES}:
        return FlavorList([])
    cpu_type = resized.cpu_type if resized else flavors.machine_cpu_type()
    candidates: Iterable[Flavor] = _named(query) if query.spec_code else _offered(cpu_type)
    capacity = None if query.capacity is None else capacity_mb(query.capacity)
    return FlavorList(
        [
            _item(flavor, zones[flavor.cache_mode])
            for flavor in candidates
            if flavor.cpu_type == cpu_type
            and query.cpu_type in {None, cpu_type}
            and query.cache_mode in {None, flavor.cache_mode}
            and (_can_vote(flavor) or query.spec_code or resized)
            and (query.capacity is None or flavor.capacity_mb == capacity)
            and (resized is None or _can_become(resized, flavor))
        ]
    )


def _can_become(now: Flavor, new: Flavor) -> bool:
    return TOPOLOGIES[now.cache_mode].can_become(now, new) and not new.same_nodes(now)


def _can_vote(flavor: Flavor) -> bool:
    return flavor.cache_mode != "cluster" or flavor.shards >= flavors.VOTING_SHARDS


@cache
def _offered(cpu_type: str) -> tuple[Flavor, ...]:
    return tuple(flavors.offered(cpu_type))


def _named(query: FlavorsQuery) -> tuple[Flavor, ...]:
    try:
        flavor = flavors.parse(query.spec_code or "")
    except flavors.UnknownFlavor:
        return ()
    return (flavor,) if flavor.cache_mode in TOPOLOGIES else ()


@lru_cache(maxsize=4096)
def _item(flavor: Flavor, zones: tuple[str, ...]) -> FlavorItem:
    size = flavor.capacity_gb
    attributes = {
        "max_memory": size,
        "sharding_num": flavor.shards,
        "proxy_num": 0,
        "db_number": TOPOLOGIES[flavor.cache_mode].databases,
        "max_clients": _MAX_CLIENTS,
    }
    return FlavorItem(
        spec_code=flavor.spec_code,
        cache_mode=flavor.cache_mode,
        cpu_type=flavor.cpu_type,
        capacity=[size],
        tenant_ip_count=flavor.shards * flavor.copies,
        attrs=[Attribute(size, name, str(value)) for name, value in attributes.items()],
        flavors_available_zones=[ZoneItem(size, "GB", zones, zones)],
        replica_count=flavor.copies,
        inquery_spec_code=flavor.spec_code,
    )
