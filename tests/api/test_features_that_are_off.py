"""Features that are off: settings and lists are read, what is off can be confirmed, no more is accepted."""

from typing import Any

import pytest
from huaweicloudsdkdcs.v2 import (
    BandwidthAutoScalingPolicy,
    ListOfflineKeyAnalysisTaskRequest,
    ListRedislogRequest,
    ListRestoreRecordsRequest,
    ShowInstanceBandwidthAutoScalingPolicyRequest,
    ShowInstanceSslDetailRequest,
    UpdateInstanceBandwidthAutoScalingPolicyRequest,
)
from tenants import Tenant

from cachewright.store import tasks

SOMETHING = "00000000-0000-4000-8000-000000000001"
POLICY = {"window_size": 5, "bandwidth_usage_upper_threshold": 80, "scale_out_cooldown": 60}


def waiting(tenant: Tenant, instance_id: str) -> list[str]:
    with tenant.site.database.read() as connection:
        return [task.name for task in tasks.unfinished_of(connection, instance_id)]


@pytest.mark.parametrize(
    ("path", "body", "code", "said"),
    [
        ("autoscaling-policy/bandwidth", {**POLICY, "window_size": 2}, "DCS.4062", "window_size"),
        ("autoscaling-policy/bandwidth", {"window_size": 5}, "DCS.4062", "bandwidth_usage_upper_threshold"),
        ("autoscaling-policy/bandwidth", {**POLICY, "scale_out_cooldown": 86401}, "DCS.4062", "scale_out_cooldown"),
        ("ssl", {"enabled": True}, "DCS.4202", "enable_ssl"),
        ("ssl", {}, "DCS.4062", "enabled"),
        ("available-zones", {"new_available_zones": ["local", "az2"]}, "DCS.4042", "az2"),
        ("available-zones", {"new_available_zones": []}, "DCS.4062", "new_available_zones"),
    ],
)
def test_what_cannot_be_enabled_is_refused(tenant: Tenant, path: str, body: Any, code: str, said: str) -> None:
    here = tenant.instance()
    before = tenant.call("GET", f"instances/{here}").json
    answer = tenant.call("PUT", f"instances/{here}/{path}", body)
    assert answer.refusal == (400, code)
    assert said in answer.json["error_msg"]
    assert waiting(tenant, here) == []
    assert tenant.call("GET", f"instances/{here}").json == before


def test_client_addresses_are_never_hidden_so_nothing_can_be_enabled(tenant: Tenant) -> None:
    here = tenant.instance()
    path = tenant.path(f"{here}/client-ip-transparent-transmission")
    assert tenant.call("PUT", path, {"transparent_client_ip_enable": True}).refusal == (400, "DCS.4838")
    assert waiting(tenant, here) == []
    job = tenant.call("PUT", path, {"transparent_client_ip_enable": False}).json["job_id"]
    assert waiting(tenant, here) == ["modifyClientIpTransJob"]
    assert tenant.call("GET", f"jobs/{job}").json["job_type"] == "modifyClientIpTransJob"


def test_a_bandwidth_policy_is_kept_until_it_is_deleted(tenant: Tenant) -> None:
    here = tenant.instance()
    path = f"instances/{here}/autoscaling-policy/bandwidth"
    assert tenant.call("GET", path).json == {}
    stored = tenant.client.update_instance_bandwidth_auto_scaling_policy(
        UpdateInstanceBandwidthAutoScalingPolicyRequest(instance_id=here, body=BandwidthAutoScalingPolicy(**POLICY))
    )
    shown = tenant.client.show_instance_bandwidth_auto_scaling_policy(
        ShowInstanceBandwidthAutoScalingPolicyRequest(instance_id=here)
    )
    for read in (stored, shown):
        assert {name: getattr(read, name) for name in POLICY} == POLICY
    assert tenant.call("DELETE", path).status == 204
    assert tenant.call("GET", path).json == {}
    assert tenant.call("DELETE", path).status == 204


def test_tls_of_clients_is_off_and_can_be_confirmed(tenant: Tenant) -> None:
    here = tenant.instance()
    detail = tenant.client.show_instance_ssl_detail(ShowInstanceSslDetailRequest(instance_id=here))
    assert (detail.enabled, detail.ip, detail.ssl_expired_at) == (False, "127.0.0.1", None)
    assert detail.port == str(tenant.stored(here).seed_port)
    assert tenant.call("POST", f"instances/{here}/ssl-certs/download").refusal == (400, "DCS.4202")
    answer = tenant.call("PUT", f"instances/{here}/ssl", {"enabled": False}).json
    assert (answer["instance_id"], waiting(tenant, here)) == (here, ["UpdateSslSwitch"])


def test_lists_of_unsupported_features_are_empty(tenant: Tenant) -> None:
    here, client = tenant.instance(), tenant.client
    assert client.list_restore_records(ListRestoreRecordsRequest(instance_id=here)).restore_record_response == []
    assert client.list_redislog(ListRedislogRequest(instance_id=here)).file_list == []
    assert client.list_offline_key_analysis_task(ListOfflineKeyAnalysisTaskRequest(instance_id=here)).records == []
    for path in ("restores", "redislog", "offline/key-analysis"):
        assert tenant.call("GET", f"instances/{here}/{path}", query="limit=0").refusal == (400, "DCS.4062")
        assert tenant.call("GET", f"instances/{SOMETHING}/{path}").refusal == (404, "DCS.3022")


def test_zones_of_the_compute_service_are_those_of_instances(tenant: Tenant) -> None:
    path = f"/v2.1/{tenant.project_id}/os-availability-zone"
    (zone,) = tenant.call("GET", path).json["availabilityZoneInfo"]
    assert zone == {"zoneName": "local", "zoneState": {"available": True}, "hosts": None}
    assert tenant.send("GET", path, {}).refusal == (401, "DCS.1003")
    assert tenant.call("GET", f"/v2.1/{'0' * 32}/os-availability-zone").refusal == (401, "DCS.1004")


def test_an_instance_moves_to_the_zone_where_it_is(tenant: Tenant) -> None:
    here = tenant.instance()
    body = {"new_available_zones": ["local", "local"], "execute_immediately": True}
    assert tenant.call("PUT", f"instances/{here}/available-zones", body).status == 204
