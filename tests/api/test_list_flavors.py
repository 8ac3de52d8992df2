"""ListFlavors."""

import uuid
from collections.abc import Callable

import pytest
from contract import faults
from huaweicloudsdkdcs.v2 import ListFlavorsRequest
from tenants import Tenant

from cachewright.flavors import machine_cpu_type
from cachewright.store import instances

REASONABLE_BYTES = 500_000


def codes(tenant: Tenant, query: str = "") -> list[str]:
    return [item["spec_code"] for item in tenant.call("GET", "flavors", query=query).json["flavors"]]


def test_the_whole_list_is_of_this_machine_and_of_a_reasonable_size(tenant: Tenant) -> None:
    answer = tenant.call("GET", "flavors")
    assert len(answer.body) < REASONABLE_BYTES
    flavors = answer.json["flavors"]
    assert len(flavors) > 100
    assert {item["cpu_type"] for item in flavors} == {machine_cpu_type()}
    assert {item["cache_mode"] for item in flavors} == {"cluster", "ha", "single"}
    assert faults(answer.json, "ListFlavorsResponse") == []


def test_one_flavor_is_as_the_contract_has_it(tenant: Tenant) -> None:
    request = ListFlavorsRequest(spec_code="redis.cluster.xu1.large.r2.s2.6", engine="Redis", engine_version="7.0")
    (item,) = tenant.client.list_flavors(request).flavors
    assert item.spec_code == "redis.cluster.xu1.large.r2.s2.6"
    assert (item.engine, item.engine_version) == ("redis", "4.0;5.0;6.0;7.0")
    assert (item.capacity, item.tenant_ip_count, item.replica_count) == (["6"], 6, 2)
    assert {(attribute.capacity, attribute.name): attribute.value for attribute in item.attrs}[
        ("6", "sharding_num")
    ] == "3"
    (zone,) = item.flavors_available_zones
    assert (zone.capacity, zone.unit, zone.az_codes) == ("6", "GB", ["local"])


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("capacity=3", ["redis.cluster.xu1.large.r1.s1.3", "redis.cluster.xu1.large.r3.s1.3"]),
        ("capacity=3.0", ["redis.cluster.xu1.large.r2.s1.3"]),
        ("capacity=1024", ["redis.cluster.xu1.large.r1.1024", "redis.cluster.xu1.large.r1.s16.1024"]),
        ("cpu_type=x86_64&cache_mode=cluster&engine=redis", ["redis.cluster.xu1.large.r1.s1.3"]),
        ("spec_code=redis.cluster.xu1.large.r1.s1.1", ["redis.cluster.xu1.large.r1.s1.1"]),
        ("spec_code=redis.cluster.xu1.large.r1.s1.127", ["redis.cluster.xu1.large.r1.s1.127"]),
        ("spec_code=redis.single.xu1.large.2", ["redis.single.xu1.large.2"]),
        ("capacity=0.125", ["redis.single.xu1.tiny.128"]),
        ("cache_mode=single&capacity=0.5", ["redis.single.xu1.tiny.512"]),
        ("cache_mode=ha&capacity=0.5", ["redis.ha.xu1.tiny.r2.512", "redis.ha.xu1.tiny.r6.512"]),
        ("cache_mode=ha&capacity=64", ["redis.ha.xu1.large.r2.64"]),
        ("spec_type=instance&capacity=4", ["redis.cluster.xu1.large.r1.4"]),
    ],
)
def test_filters_keep_what_fits(tenant: Tenant, query: str, expected: list[str]) -> None:
    listed = codes(tenant, query if "cpu_type" in query else f"{query}&cpu_type=x86_64")
    assert set(expected) <= set(listed)
    assert len(listed) < len(codes(tenant)) or "cache_mode" in query


@pytest.mark.parametrize(
    "query",
    [
        "cache_mode=proxy",
        "engine=Memcached",
        "engine_version=3.0",
        "capacity=5000",
        "capacity=0.3",
        "cache_mode=single&capacity=3",
        "cache_mode=cluster&capacity=0.125",
        "spec_code=redis.ha.xu1.large.p2.2",
        "spec_code=redis.single.xu1.large.3",
        "spec_code=nonsense",
        "spec_code=redis.cluster.xu1.large.r1.s1.3&capacity=4",
        "spec_code=redis.cluster.xu1.large.r1.s1.3&cpu_type=aarch64",
        "spec_code=redis.cluster.au1.large.r1.s1.3",
        "cpu_type=aarch64",
        "spec_type=node",
    ],
)
def test_what_is_not_sold_is_an_empty_list(tenant: Tenant, query: str) -> None:
    assert codes(tenant, query) == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("cache_mode=cloud", "cache_mode"),
        ("cpu_type=z80", "cpu_type"),
        ("capacity=lots", "capacity"),
        ("capacity=-1", "capacity"),
        ("capacity=4&capacity=8", "capacity"),
        ("spec_type=x", "spec_type"),
    ],
)
def test_filters_that_cannot_be_are_refused_by_name(tenant: Tenant, query: str, field: str) -> None:
    answer = tenant.call("GET", "flavors", query=query)
    assert answer.refusal == (400, "DCS.4062")
    assert field in answer.json["error_msg"]


@pytest.mark.parametrize("capacity", [4, 8, 16, 24, 32, 48, 64])
def test_the_flavor_that_terraform_takes_first_is_the_usual_one(tenant: Tenant, capacity: int) -> None:
    """The one with the fewest nodes: as many shards as the cloud gives to this capacity by itself, or more."""
    listed = tenant.call("GET", "flavors", query=f"cache_mode=cluster&capacity={capacity}&cpu_type=x86_64").json
    counts = {item["spec_code"]: item["tenant_ip_count"] for item in listed["flavors"]}
    assert counts
    assert min(counts.values()) >= 3
    assert f"redis.cluster.xu1.large.r1.{capacity}" in counts


def test_of_an_instance_what_it_can_become(tenant: Tenant) -> None:
    """Also for another processor, as earlier releases sold it."""
    instance_id = tenant.instance()
    with tenant.site.database.write() as connection:
        instances.change(connection, instance_id, spec_code="redis.cluster.au1.large.r2.s1.3")
    listed = codes(tenant, f"instance_id={instance_id}")
    assert "redis.cluster.au1.large.r2.s1.4" in listed
    assert "redis.cluster.au1.large.r2.s1.3" not in listed
    assert {code.rsplit(".r", 1)[0] for code in listed} == {"redis.cluster.au1.large"}
    assert {code.split(".")[4] for code in listed if not code.endswith(".3")} == {"r2"}
    assert {code.split(".")[4] for code in listed if code.endswith(".s1.3")} == {"r1", "r3"}
    assert "redis.cluster.au1.large.r2.s1.2" in listed, "a cluster may shrink below the size of new ones"


SINGLE_SIZES = ("tiny.128", "tiny.256", "tiny.512", *(f"large.{size}" for size in (1, 2, 4, 8, 16, 24, 32, 48, 64)))


def test_single_instances_are_listed_in_every_size(tenant: Tenant) -> None:
    listed = codes(tenant, "cache_mode=single&cpu_type=x86_64")
    assert listed == [f"redis.single.xu1.{size}" for size in SINGLE_SIZES]
    (item,) = tenant.client.list_flavors(ListFlavorsRequest(spec_code="redis.single.xu1.tiny.128")).flavors
    assert (item.cache_mode, item.capacity, item.replica_count, item.tenant_ip_count) == ("single", ["0.125"], 1, 1)
    assert {attribute.name: attribute.value for attribute in item.attrs}["db_number"] == "256"


def test_of_a_single_instance_what_it_can_become(tenant: Tenant) -> None:
    instance_id = tenant.instance(spec_code="redis.single.xu1.large.2", capacity=2)
    listed = codes(tenant, f"instance_id={instance_id}")
    with_replicas = [f"redis.ha.xu1.large.r{copies}.2" for copies in range(2, 7)]
    clusters = [code for code in listed if code.startswith("redis.cluster.xu1.")]
    assert listed[: len(clusters)] == clusters
    assert {"redis.cluster.xu1.large.r1.s2.2", "redis.cluster.xu1.large.r2.s1.3"} <= set(clusters)
    others = [f"redis.single.xu1.{size}" for size in SINGLE_SIZES if size != "large.2"]
    assert listed[len(clusters) :] == [*others, *with_replicas]


def test_of_an_instance_that_is_not_there(tenant: Tenant, new_tenant: Callable[[], Tenant]) -> None:
    for unknown in (str(uuid.uuid4()), new_tenant().instance()):
        assert tenant.call("GET", "flavors", query=f"instance_id={unknown}").refusal == (404, "DCS.3022")
    assert tenant.call("GET", "flavors", query="instance_id=x").refusal == (400, "DCS.4061")
