"""ListFlavors."""

from functools import cache

import msgspec

from cachewright import flavors
from cachewright.flavors import Flavor

ZONE = "local"


class FlavorsQuery(msgspec.Struct, frozen=True):
    instance_id: str | None = None
    spec_code: str | None = None
    cache_mode: str | None = None
    engine: str | None = None
    engine_version: str | None = None
    cpu_type: str | None = None
    capacity: str | None = None


class Attribute(msgspec.Struct, frozen=True):
    name: str
    value: str


class ZoneItem(msgspec.Struct, frozen=True):
    capacity: str
    unit: str
    available_zones: list[str]
    az_codes: list[str]


class FlavorItem(msgspec.Struct, frozen=True, kw_only=True):
    spec_code: str
    cloud_service_type_code: str = "hws.service.type.dcs"
    cloud_resource_type_code: str = "hws.resource.type.dcs3"
    cache_mode: str
    engine: str = "redis"
    engine_version: str = ";".join(flavors.ENGINE_VERSIONS)
    product_type: str = "generic"
    cpu_type: str
    storage_type: str = "DRAM"
    capacity: list[str]
    billing_mode: tuple[str, ...] = ("Hourly",)
    tenant_ip_count: int
    pricing_type: str = "tier"
    is_dec: bool = False
    attrs: list[Attribute]
    flavors_available_zones: list[ZoneItem]
    replica_count: int


class FlavorList(msgspec.Struct, frozen=True):
    flavors: list[FlavorItem]


def flavor_list(query: FlavorsQuery) -> FlavorList:
    """Those that fit every filter. A spec code that can be bought but is not listed is found by its name."""
    if query.engine and query.engine.lower() != "redis":
        return FlavorList([])
    if query.engine_version and query.engine_version not in flavors.ENGINE_VERSIONS:
        return FlavorList([])
    found = _named(query.spec_code) if query.spec_code else _listed()
    return FlavorList(
        [
            item
            for item in found
            if query.cache_mode in {None, "", item.cache_mode}
            and query.cpu_type in {None, "", item.cpu_type}
            and (not query.capacity or query.capacity in item.capacity)
        ]
    )


@cache
def _listed() -> tuple[FlavorItem, ...]:
    return tuple(_item(flavor) for flavor in flavors.offered(flavors.machine_cpu_type()))


def _named(spec_code: str) -> tuple[FlavorItem, ...]:
    try:
        flavor = flavors.parse(spec_code)
    except flavors.UnknownFlavor:
        return ()
    return (_item(flavor),) if flavor.cache_mode == "cluster" else ()


def _item(flavor: Flavor) -> FlavorItem:
    return FlavorItem(
        spec_code=flavor.spec_code,
        cache_mode=flavor.cache_mode,
        cpu_type=flavor.cpu_type,
        capacity=[flavor.capacity_gb],
        tenant_ip_count=flavor.shards * flavor.copies,
        attrs=[Attribute("sharding_num", str(flavor.shards)), Attribute("capacity", flavor.capacity_gb)],
        flavors_available_zones=[ZoneItem(flavor.capacity_gb, "GB", [ZONE], [ZONE])],
        replica_count=flavor.copies,
    )
