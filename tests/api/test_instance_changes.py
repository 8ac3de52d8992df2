"""UpdateInstance, BatchDeleteInstances, tags, counts: changes and reads without a background task."""

import uuid
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from contract import faults
from huaweicloudsdkdcs.v2 import (
    BatchCreateOrDeleteTagsRequest,
    BatchDeleteBody,
    BatchDeleteInstancesRequest,
    CreateOrDeleteInstanceTags,
    ListAvailableZonesRequest,
    ListMaintenanceWindowsRequest,
    ListNumberOfInstancesInDifferentStatusRequest,
    ListTagsOfTenantRequest,
    ModifyInstanceBody,
    ResourceTag,
    ShowBigkeyAutoscanConfigRequest,
    ShowHotkeyAutoscanConfigRequest,
    ShowIpWhitelistRequest,
    ShowTagsRequest,
    UpdateInstanceRequest,
)
from tenants import Tenant

from cachewright.store import instances

UPDATE: Mapping[str, Any] = {
    "name": "renamed",
    "description": "ünïcode",
    "maintain_begin": "22:00:00",
    "maintain_end": "02:00:00",
    "security_group_id": "group",
}


def set_status(tenant: Tenant, instance_id: str, status: str) -> None:
    with tenant.site.database.write() as connection:
        instances.change(connection, instance_id, status=status)


def test_the_clouds_client_changes_and_reads_back(tenant: Tenant) -> None:
    instance_id = tenant.instance(tags=[{"key": "k", "value": "v"}])
    before = tenant.call("GET", f"instances/{instance_id}").json
    request = UpdateInstanceRequest(instance_id=instance_id, body=ModifyInstanceBody(**UPDATE))
    tenant.client.update_instance(request)
    after = tenant.call("GET", f"instances/{instance_id}").json
    assert {name: after[name] for name in UPDATE} == UPDATE
    changed = {name for name in before if before[name] != after[name]}
    assert changed <= {*UPDATE, "security_group_name", "update_at"}


@pytest.mark.parametrize(
    ("body", "read"),
    [
        ({}, {}),
        ({"description": ""}, {"description": ""}),
        ({"security_group_id": ""}, {"security_group_id": None}),
        ({"name": None, "description": None, "maintain_begin": None, "security_group_id": None}, {}),
        ({"maintain_begin": "", "maintain_end": ""}, {}),
        ({"rename_commands": {}, "instance_backup_policy": {}, "port": None, "unknown": 1}, {}),
        ({"name": "other"}, {"name": "other"}),
    ],
    ids=str,
)
def test_what_is_left_out_stays(tenant: Tenant, body: Mapping[str, Any], read: Mapping[str, Any]) -> None:
    instance_id = tenant.instance(**UPDATE)
    answer = tenant.call("PUT", f"instances/{instance_id}", body)
    assert (answer.status, answer.body) == (204, b"")
    shown = tenant.call("GET", f"instances/{instance_id}").json
    assert {name: shown[name] for name in UPDATE} == {**UPDATE, **read}


def test_the_port_that_it_has_is_no_change(tenant: Tenant) -> None:
    instance_id = tenant.instance()
    port = tenant.stored(instance_id).seed_port
    assert tenant.call("PUT", f"instances/{instance_id}", {"port": port}).status == 204


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ({"name": "abc"}, "DCS.4010", "name"),
        ({"name": ""}, "DCS.4010", "name"),
        ({"name": "abcd\n"}, "DCS.4010", "name"),
        ({"description": "d" * 1025}, "DCS.4011", "description"),
        ({"maintain_begin": "02:00:00"}, "DCS.4106", "maintain_end"),
        ({"maintain_end": "02:00:00"}, "DCS.4106", "maintain_begin"),
        ({"maintain_begin": "02:30:00", "maintain_end": "06:00:00"}, "DCS.4106", "maintain_begin"),
        ({"security_group_id": 1}, "DCS.4014", "security_group_id"),
        ({"security_group_id": "g" * 129}, "DCS.4014", "security_group_id"),
        ({"port": 1}, "DCS.4062", "port"),
        ({"rename_commands": {"keys": "k"}}, "DCS.4062", "rename_commands"),
        ({"instance_backup_policy": []}, "DCS.4095", "instance_backup_policy"),
        ({"instance_backup_policy": {"backup_type": "auto"}}, "DCS.4072", "save_days"),
    ],
    ids=str,
)
def test_what_cannot_be_changed_is_refused_by_name(
    tenant: Tenant, body: Mapping[str, Any], code: str, field: str
) -> None:
    instance_id = tenant.instance(**UPDATE)
    before = tenant.stored(instance_id)
    answer = tenant.call("PUT", f"instances/{instance_id}", {"description": "changed", **body})
    assert answer.refusal == (400, code)
    assert field in answer.json["error_msg"]
    assert tenant.stored(instance_id) == before


def test_an_instance_that_is_being_deleted_is_not_changed(tenant: Tenant) -> None:
    instance_id = tenant.instance()
    set_status(tenant, instance_id, "DELETING")
    for body in ({"name": "other"}, {"port": 1}):
        assert tenant.call("PUT", f"instances/{instance_id}", body).refusal == (400, "DCS.4026")


def test_existence_is_checked_before_the_body(tenant: Tenant) -> None:
    for method, path in (("PUT", f"instances/{uuid.uuid4()}"), ("POST", f"dcs/{uuid.uuid4()}/tags/action")):
        assert tenant.call(method, path, b"{").refusal == (404, "DCS.3022")


def test_the_clouds_client_deletes_several(tenant: Tenant) -> None:
    """Each instance has its own result; one that is named twice has one result."""
    running, creating, unknown = tenant.instance(), tenant.instance(), str(uuid.uuid4())
    set_status(tenant, creating, "CREATING")
    body = BatchDeleteBody(instances=[running, creating, unknown, running.upper()])
    answer = tenant.client.batch_delete_instances(BatchDeleteInstancesRequest(all_failure=False, body=body))
    results = [(row.instance, row.result) for row in answer.results]
    assert results == [(running, "success"), (creating, "success"), (unknown, "failed")]
    assert tenant.stored(running).status == "DELETING"
    assert tenant.stored(creating).status == "DELETING"


def test_those_that_could_not_be_created_are_deleted_together(tenant: Tenant) -> None:
    failed = [tenant.instance(), tenant.instance()]
    kept = tenant.instance()
    for instance_id in failed:
        set_status(tenant, instance_id, "CREATEFAILED")
    answer = tenant.call("DELETE", "instances", query="all_failure=true")
    assert answer.status == 200
    assert {row["instance"]: row["result"] for row in answer.json["results"]} == dict.fromkeys(failed, "success")
    assert tenant.stored(kept).status == "RUNNING"
    nobody = tenant.call("DELETE", "instances", {"instances": []}, query="all_failure=true")
    assert {row["instance"] for row in nobody.json["results"]} <= set(failed)


@pytest.mark.parametrize(
    ("body", "query", "code"),
    [
        (b"", "", "DCS.4004"),
        (b"", "all_failure=false", "DCS.4004"),
        (b"{}", "", "DCS.4065"),
        (b'{"instances": []}', "all_failure=no", "DCS.4065"),
        (b'{"instances": null}', "", "DCS.4065"),
        (b'{"instances": "x"}', "", "DCS.4065"),
        (b'{"instances": [1]}', "", "DCS.4065"),
        (b'{"instances": ["x"]}', "", "DCS.4061"),
        (b"{", "all_failure=true", "DCS.4005"),
    ],
    ids=str,
)
def test_a_batch_that_cannot_be_is_refused(tenant: Tenant, body: bytes, query: str, code: str) -> None:
    kept = tenant.instance()
    assert tenant.call("DELETE", "instances", body, query=query).refusal == (400, code)
    assert tenant.stored(kept).status == "RUNNING"


def test_fifty_may_be_named(tenant: Tenant) -> None:
    ids = [str(uuid.uuid4()) for _ in range(51)]
    assert tenant.call("DELETE", "instances", {"instances": ids}).refusal == (400, "DCS.4100")
    assert len(tenant.call("DELETE", "instances", {"instances": ids[1:]}).json["results"]) == 50


def test_another_projects_instances_are_not_there(tenant: Tenant, new_tenant: Callable[[], Tenant]) -> None:
    mine = tenant.instance(tags=[{"key": "k", "value": "v"}])
    set_status(tenant, mine, "CREATEFAILED")
    stranger = new_tenant()
    named = stranger.call("DELETE", "instances", {"instances": [mine]}, query="all_failure=true").json
    absent = {"error_code": "DCS.3022", "error_msg": "The instance does not exist."}
    assert named == {"results": [{"result": "failed", "instance": mine, **absent}]}
    for method, path in (
        ("PUT", f"instances/{mine}"),
        ("GET", f"instances/{mine}/configs"),
        ("GET", f"instances/{mine}/tags"),
        ("GET", f"instances/{mine}/nodes"),
        ("GET", f"instances/{mine}/logical-nodes"),
        ("GET", f"instances/{mine}/bigkey/autoscan"),
        ("GET", f"instances/{mine}/hotkey/autoscan"),
        ("GET", f"instance/{mine}/groups"),
        ("GET", f"instance/{mine}/groups/{mine}/group-nodes-state"),
        ("GET", f"instance/{mine}/whitelist"),
        ("POST", f"dcs/{mine}/tags/action"),
    ):
        assert stranger.call(method, path, b"" if method == "GET" else b"{}").refusal == (404, "DCS.3022"), path
    assert stranger.call("GET", "dcs/tags").json == {"tags": []}
    assert stranger.call("GET", "instances-logical-nodes").json == {"count": 0, "instances": []}
    assert stranger.call("GET", "instances/statistic").json == {"statistics": []}
    assert stranger.call("GET", "instances/status", query="include_failure=true").json["createfailed_count"] == 0


def test_the_clouds_client_tags(tenant: Tenant) -> None:
    instance_id = tenant.instance(tags=[{"key": "team", "value": "a"}, {"key": "tier", "value": "1"}])

    def act(action: str, **tags: str) -> dict[str, str]:
        wished = [ResourceTag(key=key, value=value) for key, value in tags.items()]
        body = CreateOrDeleteInstanceTags(action=action, tags=wished)
        tenant.client.batch_create_or_delete_tags(BatchCreateOrDeleteTagsRequest(instance_id=instance_id, body=body))
        return {tag.key: tag.value for tag in tenant.client.show_tags(ShowTagsRequest(instance_id=instance_id)).tags}

    assert act("create", team="b", more="") == {"tier": "1", "team": "b", "more": ""}
    assert act("delete", tier="", absent="") == {"team": "b", "more": ""}
    assert tenant.call("GET", f"instances/{instance_id}").json["tags"] == [
        {"key": "team", "value": "b"},
        {"key": "more", "value": ""},
    ]
    assert act("delete", team="b", more="") == {}


@pytest.mark.parametrize(
    "body",
    [
        {"tags": [{"key": "k"}]},
        {"action": "replace", "tags": [{"key": "k"}]},
        {"action": "create"},
        {"action": "create", "tags": []},
        {"action": "create", "tags": [{"key": "k" * 37}]},
        {"action": "create", "tags": [{"key": "k"}, {"key": "k"}]},
        {"action": "create", "tags": [{"key": f"key-{n}"} for n in range(20)]},
    ],
    ids=lambda body: str(body)[:60],
)
def test_tags_that_cannot_be_are_refused(tenant: Tenant, body: Mapping[str, Any]) -> None:
    instance_id = tenant.instance(tags=[{"key": "kept", "value": "1"}])
    assert tenant.call("POST", f"dcs/{instance_id}/tags/action", body).refusal == (400, "DCS.4062")
    assert tenant.call("GET", f"instances/{instance_id}/tags").json == {"tags": [{"key": "kept", "value": "1"}]}


def test_tags_of_the_project_are_gathered(tenant: Tenant) -> None:
    tenant.instance(tags=[{"key": "team", "value": "b"}, {"key": "alone", "value": ""}])
    tenant.instance(tags=[{"key": "team", "value": "a"}])
    tenant.instance(tags=[{"key": "team", "value": "b"}])
    found = tenant.client.list_tags_of_tenant(ListTagsOfTenantRequest()).tags
    assert [(tag.key, tag.values) for tag in found] == [("alone", [""]), ("team", ["a", "b"])]


def test_instances_are_counted_by_status(tenant: Tenant) -> None:
    for status in ("RUNNING", "RUNNING", "EXTENDING", "CREATEFAILED", "DELETING"):
        set_status(tenant, tenant.instance(), status)
    asked = ListNumberOfInstancesInDifferentStatusRequest
    with_failures = tenant.client.list_number_of_instances_in_different_status(asked(include_failure=True))
    assert (with_failures.running_count, with_failures.extending_count, with_failures.createfailed_count) == (2, 1, 1)
    assert with_failures.redis.running_count == 2
    assert with_failures.memcached.running_count == 0
    without = tenant.client.list_number_of_instances_in_different_status(asked())
    assert (without.running_count, without.createfailed_count, without.error_count) == (2, 0, 0)
    raw = tenant.call("GET", "instances/status").json
    assert faults(raw, "ListNumberOfInstancesInDifferentStatusResponse") == []


def test_what_is_not_served_is_shown_to_be_off(tenant: Tenant) -> None:
    instance_id = tenant.instance()
    whitelist = tenant.client.show_ip_whitelist(ShowIpWhitelistRequest(instance_id=instance_id))
    assert (whitelist.instance_id, whitelist.enable_whitelist, whitelist.whitelist) == (instance_id, False, [])
    big = tenant.client.show_bigkey_autoscan_config(ShowBigkeyAutoscanConfigRequest(instance_id=instance_id))
    hot = tenant.client.show_hotkey_autoscan_config(ShowHotkeyAutoscanConfigRequest(instance_id=instance_id))
    for scan in (big, hot):
        assert (scan.instance_id, scan.enable_auto_scan, scan.schedule_at) == (instance_id, False, [])


def test_zones_and_windows_need_no_project(tenant: Tenant) -> None:
    zones = tenant.client.list_available_zones(ListAvailableZonesRequest())
    assert [zone.code for zone in zones.available_zones] == ["local"]
    assert faults(tenant.call("GET", "/v2/available-zones").json, "ListAvailableZonesResponse") == []
    windows = tenant.client.list_maintenance_windows(ListMaintenanceWindowsRequest()).maintain_windows
    assert [(window.begin, window.end) for window in windows] == [
        ("02", "06"),
        ("06", "10"),
        ("10", "14"),
        ("14", "18"),
        ("18", "22"),
        ("22", "02"),
    ]
    (default,) = [window for window in windows if window.default]
    shown = tenant.call("GET", f"instances/{tenant.instance()}").json
    assert (shown["maintain_begin"], shown["maintain_end"]) == (f"{default.begin}:00:00", f"{default.end}:00:00")
    assert faults(tenant.call("GET", "/v2/instances/maintain-windows").json, "ListMaintenanceWindowsResponse") == []


def test_zones_and_windows_need_a_signature(tenant: Tenant) -> None:
    for path in ("/v2/available-zones", "/v2/instances/maintain-windows"):
        assert tenant.send("GET", path, {}).refusal == (401, "DCS.1003")
        assert tenant.call("POST", path).refusal == (405, "DCS.5001")
