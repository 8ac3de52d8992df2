"""Hosts and zones over HTTP: who may see them, which zones requests may name, where new nodes may go."""

from collections.abc import Iterator
from typing import Any

import pytest
from huaweicloudsdkdcs.v2 import ListAvailableZonesRequest
from tenants import Site, Tenant

from cachewright.model.hosts import EMBEDDED, HostRecord
from cachewright.monitoring.node_stats import InstanceSample
from cachewright.services import hosts as service
from cachewright.services.accounts import InvalidInput
from cachewright.store import hosts, instances


@pytest.fixture
def labelled(site: Site) -> Iterator[Site]:
    """The host of the server is in the zone az1, and a second host, which does not report, in az2."""
    other = HostRecord(name="other", address="192.0.2.1", zone="az2", state="active", created_at=1)
    with site.database.write() as connection:
        service.set_zone(connection, EMBEDDED, "az1")
        hosts.add(connection, other)
    yield site
    with site.database.write() as connection:
        service.set_zone(connection, EMBEDDED, "local")
        service.set_state(connection, EMBEDDED, "active")
        hosts.remove(connection, "other")


ZONES = "/v2/available-zones"
SAMPLE = InstanceSample(
    at=1, used_memory=2**30, keys=1000, ops_per_second=0, clients=0, input_kbps=0.0, output_kbps=0.0
)


def create(tenant: Tenant, **changed: Any) -> Any:
    return tenant.call("POST", "instances", tenant.create_body(**changed))


def test_an_admin_sees_hosts_and_the_nodes_of_the_own_project(labelled: Site, tenant: Tenant) -> None:
    instance_id = tenant.instance(az_codes=["az1"])
    Tenant.added(labelled).instance(az_codes=["az1"])
    answer = tenant.call("GET", "hosts")
    assert answer.status == 200
    mine, other = answer.json["hosts"]
    assert (mine["name"], mine["zone"], mine["state"], mine["reporting"]) == ("local", "az1", "active", True)
    assert {node["instance_id"] for node in mine["nodes"]} == {instance_id}
    assert len(mine["nodes"]) == 3
    assert mine["node_count"] >= 6
    assert 0 < mine["allocated"] <= mine["memory"]
    assert (other["reporting"], other["memory"], other["nodes"]) == (False, None, [])
    for role in ("viewer", "operator"):
        assert tenant.colleague(role).call("GET", "hosts").refusal == (403, "DCS.2007")


def test_zones_are_labels_of_hosts(labelled: Site, tenant: Tenant) -> None:
    zones = tenant.client.list_available_zones(ListAvailableZonesRequest()).available_zones
    assert [zone.code for zone in zones] == ["az1", "az2"]
    flavor = tenant.call("GET", "flavors").json["flavors"][0]
    assert flavor["flavors_available_zones"][0]["az_codes"] == ["az1"]
    (ha,) = tenant.call("GET", "flavors", query="spec_code=redis.ha.xu1.large.r2.1").json["flavors"]
    assert ha["flavors_available_zones"][0]["az_codes"] == ["az1"]
    assert create(tenant, az_codes=["local"]).refusal == (400, "DCS.4042")
    instance_id = tenant.instance(az_codes=["az1"])
    path = f"instances/{instance_id}/available-zones"
    assert tenant.call("PUT", path, {"new_available_zones": ["az1", "az1"]}).status == 204
    assert tenant.call("PUT", path, {"new_available_zones": ["az2"]}).refusal == (400, "DCS.4036")
    single = tenant.instance(az_codes=["az1"], spec_code="redis.single.xu1.large.1", capacity=1)
    place = f"instances/{single}/available-zones"
    assert tenant.call("PUT", place, {"new_available_zones": ["az2"]}).refusal == (400, "DCS.4036")
    assert tenant.call("GET", f"instances/{instance_id}").json["az_codes"] == ["az1"]


def test_a_host_that_is_cordoned_or_silent_gets_no_nodes(labelled: Site, tenant: Tenant) -> None:
    silent = create(tenant, az_codes=["az2"])
    assert silent.code == "DCS.4036"
    assert "no host in zone az2 takes new nodes" in silent.json["error_msg"]
    instance_id = tenant.instance(az_codes=["az1"])
    with labelled.database.write() as connection:
        service.set_state(connection, EMBEDDED, "cordoned")
    refused = create(tenant, az_codes=["az1"])
    assert refused.code == "DCS.4036"
    assert "all hosts are cordoned or do not report" in refused.json["error_msg"]
    larger = {"spec_code": "redis.cluster.xu1.large.r1.s1.4", "new_capacity": 4}
    assert tenant.call("POST", f"instances/{instance_id}/resize", larger).code == "DCS.4036"
    labelled.statistics.record(instance_id, SAMPLE)
    smaller = {"spec_code": "redis.cluster.xu1.large.r1.s1.2", "new_capacity": 2}
    assert tenant.call("POST", f"instances/{instance_id}/resize", smaller).status == 204
    zones = {zone["code"]: zone["resource_availability"] for zone in tenant.call("GET", ZONES).json["available_zones"]}
    assert zones == {"az1": "false", "az2": "false"}
    with labelled.database.read() as connection:
        assert {node.host_name for node in instances.nodes_of(connection, instance_id)} == {EMBEDDED}


def test_names_of_hosts_and_zones_are_checked(site: Site) -> None:
    with site.database.write() as connection:
        with pytest.raises(InvalidInput, match="there is no host 'h9'; there is: local"):
            service.set_state(connection, "h9", "cordoned")
        for zone in ("", "a b", "a" * 64, "-a", "a\n"):
            with pytest.raises(InvalidInput, match="invalid zone"):
                service.set_zone(connection, EMBEDDED, zone)


def test_a_new_label_of_the_only_host_renames_the_zone_of_its_instances(site: Site, tenant: Tenant) -> None:
    instance_id = tenant.instance(az_codes=["local"])
    try:
        with site.database.write() as connection:
            service.set_zone(connection, EMBEDDED, "az1")
        assert tenant.call("GET", f"instances/{instance_id}").json["az_codes"] == ["az1"]
        path = f"instances/{instance_id}/available-zones"
        assert tenant.call("PUT", path, {"new_available_zones": ["az1"]}).status == 204
        assert tenant.call("PUT", path, {"new_available_zones": ["local"]}).refusal == (400, "DCS.4042")
    finally:
        with site.database.write() as connection:
            service.set_zone(connection, EMBEDDED, "local")
    assert tenant.call("GET", f"instances/{instance_id}").json["az_codes"] == ["local"]


def test_instances_with_sentinels_are_in_the_zone_of_the_server(labelled: Site, tenant: Tenant) -> None:
    ha = {"spec_code": "redis.ha.xu1.large.r2.1", "capacity": 1}
    refused = create(tenant, az_codes=["az1", "az2"], **ha)
    assert refused.refusal == (400, "DCS.4062")
    assert "run in zone az1, not in az2" in refused.json["error_msg"]
