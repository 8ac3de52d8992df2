"""Templates of parameters: those of the system, those of a project, and instances that are created with one."""

from collections.abc import Callable
from typing import Any

import pytest
from contract import faults
from huaweicloudsdkdcs.v2 import (
    CreateCustomTemplateBody,
    CreateCustomTemplateRequest,
    DeleteConfigTemplateRequest,
    ListConfigTemplatesRequest,
    ShowConfigTemplateRequest,
    UpdateConfigTemplateRequest,
    UpdateCustomTemplateBody,
)
from tenants import Tenant

from cachewright.flavors import ENGINE_VERSIONS
from cachewright.topologies import TOPOLOGIES
from cachewright.valkey.parameters import PARAMETERS

SYSTEM = "redis-7.0-cluster"


def made(tenant: Tenant, **changed: Any) -> str:
    body = {"name": "mine", "template_id": SYSTEM, "type": "sys", "params": {"timeout": "300"}, **changed}
    answer = tenant.call("POST", "config-templates", body)
    assert answer.status == 200, answer.body
    return str(answer.json["id"])


def values(tenant: Tenant, template_id: str) -> dict[str, str]:
    shown = tenant.call("GET", f"config-templates/{template_id}").json
    return {item["param_name"]: item["param_value"] for item in shown["params"]}


def names(tenant: Tenant, query: str) -> list[str]:
    return [item["name"] for item in tenant.call("GET", "config-templates", query=query).json["templates"]]


def test_the_system_has_one_for_each_version_and_type(tenant: Tenant) -> None:
    listed = tenant.client.list_config_templates(ListConfigTemplatesRequest(type="sys", limit=1000))
    assert listed.template_num == len(listed.templates) == len(ENGINE_VERSIONS) * len(TOPOLOGIES)
    assert {(one.engine_version, one.cache_mode) for one in listed.templates} == {
        (version, mode) for version in ENGINE_VERSIONS for mode in TOPOLOGIES
    }
    assert {one.type for one in listed.templates} == {"sys"}
    assert values(tenant, SYSTEM) == {parameter.name: parameter.default for parameter in PARAMETERS}
    shown = tenant.call("GET", f"config-templates/{SYSTEM}", query="type=sys").json
    assert faults(shown, "ShowConfigTemplateResponse") == []
    assert {"param_id", "default_value", "value_range", "value_type", "description", "need_restart"} <= set(
        shown["params"][0]
    )


def test_the_clouds_client_makes_changes_and_deletes_one(tenant: Tenant) -> None:
    client = tenant.client
    body = CreateCustomTemplateBody(
        name="from-sdk", template_id="redis-6.0-single", type="sys", description="short", params={"timeout": "60"}
    )
    template_id = client.create_custom_template(CreateCustomTemplateRequest(body=body)).id
    shown = client.show_config_template(ShowConfigTemplateRequest(template_id=template_id, type="user"))
    assert (shown.name, shown.type, shown.description) == ("from-sdk", "user", "short")
    assert (shown.engine, shown.engine_version, shown.cache_mode) == ("Redis", "6.0", "single")
    change = UpdateCustomTemplateBody(name="renamed", params={"maxmemory-policy": "allkeys-lru"})
    client.update_config_template(UpdateConfigTemplateRequest(template_id=template_id, body=change))
    found = values(tenant, template_id)
    assert (found["timeout"], found["maxmemory-policy"]) == ("60", "allkeys-lru")
    assert names(tenant, "type=user") == ["renamed"]
    client.delete_config_template(DeleteConfigTemplateRequest(template_id=template_id))
    assert tenant.call("GET", f"config-templates/{template_id}", query="type=user").refusal == (400, "DCS.4988")
    assert names(tenant, "type=user") == []


def test_a_template_is_copied_with_its_values(tenant: Tenant) -> None:
    first = made(tenant)
    second = made(tenant, name="second", template_id=first, type="user", params={"slowlog-max-len": "500"})
    assert values(tenant, second) == {**values(tenant, first), "slowlog-max-len": "500"}


def test_version_and_type_name_a_template_of_the_system(tenant: Tenant) -> None:
    body = {"name": "by-kind", "engine": "Redis", "engine_version": "5.0", "cache_mode": "single"}
    template_id = tenant.call("POST", "config-templates", body).json["id"]
    shown = tenant.call("GET", f"config-templates/{template_id}").json
    assert (shown["engine_version"], shown["cache_mode"], shown["type"]) == ("5.0", "single", "user")


def test_lists_are_filtered_and_paged(tenant: Tenant) -> None:
    for number in range(3):
        made(tenant, name=f"mine-{number}", description="sessions" if number else "")
    assert names(tenant, "type=user") == ["mine-2", "mine-1", "mine-0"]
    assert names(tenant, "limit=2&offset=1")[:2] == ["mine-1", "mine-0"]
    assert names(tenant, "name=MINE-1") == ["mine-1"]
    assert names(tenant, "description=session") == ["mine-2", "mine-1"]
    assert names(tenant, "engine_version=7.0&cache_mode=cluster&type=sys") == ["Default-Redis-7.0-cluster"]
    assert names(tenant, f"template_id={SYSTEM}") == ["Default-Redis-7.0-cluster"]
    assert names(tenant, "engine=Memcached") == []
    assert names(tenant, "offset=1000") == []
    assert tenant.call("GET", "config-templates", query="type=other").refusal == (400, "DCS.4062")


@pytest.mark.parametrize(
    ("changed", "code", "said"),
    [
        ({"name": "x"}, "DCS.4010", "name"),
        ({"template_id": "none"}, "DCS.4988", "template"),
        ({"engine": "Memcached"}, "DCS.4006", "Redis"),
        ({"description": "bad\u0007"}, "DCS.4011", "description"),
        ({"params": {"timeout": "7201"}}, "DCS.4066", "from 0 to 7200"),
        ({"params": {"requirepass": "x"}}, "DCS.4066", "no such parameter"),
        ({"params": {"timeout": 5}}, "DCS.4062", "params"),
        ({"params": ["timeout"]}, "DCS.4062", "params"),
    ],
)
def test_an_invalid_template_is_refused(tenant: Tenant, changed: dict[str, Any], code: str, said: str) -> None:
    body = {"name": "mine", "template_id": SYSTEM, "params": {}, **changed}
    answer = tenant.call("POST", "config-templates", body)
    assert answer.refusal == (400, code)
    assert said in answer.json["error_msg"]
    assert names(tenant, "type=user") == []


def test_a_template_of_the_system_cannot_be_changed(tenant: Tenant) -> None:
    assert tenant.call("PUT", f"config-templates/{SYSTEM}", {"name": "other"}).refusal == (400, "DCS.4062")
    assert tenant.call("DELETE", f"config-templates/{SYSTEM}").refusal == (400, "DCS.4062")
    assert values(tenant, SYSTEM)["timeout"] == "0"


def test_templates_of_another_project_do_not_exist(tenant: Tenant, new_tenant: Callable[[], Tenant]) -> None:
    template_id, other = made(tenant), new_tenant()
    assert names(other, "type=user") == []
    for method, body in (("GET", b""), ("PUT", {"name": "theirs"}), ("DELETE", b"")):
        assert other.call(method, f"config-templates/{template_id}", body).refusal == (400, "DCS.4988")
    assert other.call("POST", "instances", other.create_body(template_id=template_id)).refusal == (400, "DCS.4988")
    assert values(tenant, template_id)["timeout"] == "300"


def test_the_number_of_templates_of_a_project_is_limited(tenant: Tenant) -> None:
    for number in range(100):
        made(tenant, name=f"mine-{number:03}")
    body = {"name": "one-more", "template_id": SYSTEM}
    assert tenant.call("POST", "config-templates", body).refusal == (400, "DCS.4039")


def test_an_instance_starts_with_the_values_of_its_template(tenant: Tenant) -> None:
    template_id = made(tenant, params={"timeout": "300", "maxmemory-policy": "allkeys-lru"})
    here = tenant.instance(template_id=template_id)
    assert tenant.stored(here).parameters == {"timeout": "300", "maxmemory-policy": "allkeys-lru"}
    tenant.call("PUT", f"config-templates/{template_id}", {"params": {"timeout": "5"}})
    assert tenant.stored(here).parameters["timeout"] == "300", "it has the values of its creation"
    assert tenant.stored(tenant.instance(template_id=SYSTEM)).parameters == {}


def test_a_viewer_changes_nothing(tenant: Tenant) -> None:
    template_id, viewer = made(tenant), tenant.colleague("viewer")
    assert names(viewer, "type=user") == ["mine"]
    assert viewer.call("DELETE", f"config-templates/{template_id}").refusal == (403, "DCS.2007")
    assert names(viewer, "type=user") == ["mine"]
