"""Roles, and the audit log of requests."""

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from litestar.handlers import HTTPRouteHandler
from tenants import Tenant

from cachewright.api.auth.permissions import ACTIONS, OPTION, ROLES, Action
from cachewright.api.routes.not_served import described_path
from cachewright.api.served import SERVED
from cachewright.model.identity import RoleName
from cachewright.operations import OPERATIONS
from cachewright.store import instances

SOMETHING = "00000000-0000-4000-8000-000000000001"


def action_of(handler: HTTPRouteHandler) -> Action | None:
    action: Action | None = handler.opt[OPTION]
    return action


ABOVE_VIEWERS = {"dcs:audit:list", "dcs:host:list", "dcs:server:list", "dcs:webhook:list", "dcs:instance:diagnose"}
"""Actions that read what not every role may see."""

GUARDED = [handler for handler in SERVED if (action := action_of(handler)) and action.least]


def try_route(user: Tenant, handler: HTTPRouteHandler) -> Any:
    """With ids of nothing, so that nothing is changed where it is allowed."""
    (method,) = handler.http_methods
    path = described_path(handler).replace("{project_id}", user.project_id)
    for name in ("instance_id", "group_id", "backup_id"):
        path = path.replace(f"{{{name}}}", SOMETHING)
    for name in ("template_id", "task_id", "job_id", "webhook_id", "account_id", "bigkey_id", "hotkey_id"):
        path = path.replace(f"{{{name}}}", "0" * 32)
    return user.call(method, path)


def test_every_action_is_one_that_some_route_names() -> None:
    named = {action.name for handler in SERVED if (action := action_of(handler))}
    assert named == set(ACTIONS)


def test_reading_is_for_viewers_and_changing_is_not() -> None:
    for action in ACTIONS.values():
        if action.least and action.name not in ABOVE_VIEWERS:
            assert (action.least == "viewer") == (not action.changing), action.name


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("handler", GUARDED, ids=lambda handler: handler.fn.__name__)
def test_a_role_may_do_what_the_table_says(tenant: Tenant, handler: HTTPRouteHandler, role: RoleName) -> None:
    action = action_of(handler)
    assert action
    assert action.least
    answer = try_route(tenant.colleague(role), handler)
    if ROLES.index(role) >= ROLES.index(action.least):
        assert answer.status != 403
    else:
        assert answer.refusal == (403, "DCS.2007")
        assert action.name in answer.json["error_msg"]


def test_who_has_no_role_is_a_stranger(tenant: Tenant) -> None:
    assert tenant.colleague(None).call("GET", "instances").refusal == (401, "DCS.1004")


def log(admin: Tenant, query: str = "") -> list[dict[str, Any]]:
    answer = admin.call("GET", "audit", query=query)
    assert answer.status == 200
    assert answer.json["count"] >= len(answer.json["entries"])
    entries: list[dict[str, Any]] = answer.json["entries"]
    return entries


def test_every_change_is_on_record(tenant: Tenant) -> None:
    operator = tenant.colleague("operator")
    created = operator.call("POST", "instances", operator.create_body())
    refused = operator.call("POST", "instances", operator.create_body(name="!"))
    forbidden = operator.call("DELETE", f"instances/{SOMETHING}")
    newest, second, oldest = log(tenant)
    assert [(e["action"], e["status"], e["error_code"]) for e in (oldest, second, newest)] == [
        ("dcs:instance:create", 200, None),
        ("dcs:instance:create", 400, "DCS.4010"),
        ("dcs:instance:delete", 403, "DCS.2007"),
    ]
    assert [entry["request_id"] for entry in (oldest, second, newest)] == [
        answer.headers["x-request-id"] for answer in (created, refused, forbidden)
    ]
    assert (oldest["user_id"], oldest["user_name"]) == (operator.key.user_id, operator.user_name)
    assert oldest["credential"] == f"key {operator.key.access_key}"
    assert (oldest["source"], oldest["method"], oldest["path"]) == ("127.0.0.1", "POST", operator.path("instances"))
    assert oldest["at"].endswith("Z")


def test_reading_is_not_on_record(tenant: Tenant) -> None:
    tenant.call("GET", "instances")
    tenant.call("POST", f"instances/{SOMETHING}/resize/plan", {"spec_code": "x"})
    assert log(tenant) == []


def test_no_secret_of_a_body_is_on_record(tenant: Tenant) -> None:
    tenant.call("POST", "instances", tenant.create_body(password="Visible-secret-1"))
    assert "Visible-secret-1" not in tenant.call("GET", "audit").body.decode()


def test_pages_and_filters(tenant: Tenant) -> None:
    operator = tenant.colleague("operator")
    for _ in range(3):
        tenant.call("DELETE", f"instances/{SOMETHING}")
    operator.call("POST", "instances", {})
    assert [entry["user_name"] for entry in log(tenant, "limit=2")] == [operator.user_name, tenant.user_name]
    assert len(log(tenant, "offset=2&limit=10")) == 2
    assert [entry["action"] for entry in log(tenant, f"user_name={operator.user_name}")] == ["dcs:instance:create"]
    assert log(tenant, "end_time=20200101000000") == []
    assert len(log(tenant, "start_time=20200101000000")) == 4
    assert tenant.call("GET", "audit", query="start_time=x").refusal == (400, "DCS.4062")


def test_the_log_of_another_project_is_not_shown(tenant: Tenant, new_tenant: Callable[[], Tenant]) -> None:
    new_tenant().call("DELETE", f"instances/{SOMETHING}")
    assert log(tenant) == []
    assert tenant.colleague("operator").call("GET", "audit").refusal == (403, "DCS.2007")


def test_every_kind_of_task_has_an_action(tenant: Tenant) -> None:
    """A user who may not start a kind of task may not control it either."""
    assert {operation.permission for operation in OPERATIONS.values()} <= set(ACTIONS)


def commits(tenant: Tenant, ask: Callable[[], Any]) -> int:
    """How many transactions of this call have changed the database."""
    engine = tenant.site.database.engine
    found: list[sa.Connection] = []

    def see(connection: sa.Connection) -> None:
        if connection.get_execution_options().get("write"):
            found.append(connection)

    sa.event.listen(engine, "commit", see)
    try:
        ask()
    finally:
        sa.event.remove(engine, "commit", see)
    return len(found)


def test_a_refused_change_is_one_transaction(tenant: Tenant) -> None:
    viewer = tenant.colleague("viewer")
    for _ in range(2):
        assert commits(tenant, lambda: viewer.call("DELETE", f"instances/{SOMETHING}")) == 1
        assert commits(tenant, lambda: tenant.call("DELETE", f"instances/{SOMETHING}")) == 1
        assert commits(tenant, lambda: tenant.call("POST", "instances", {})) == 1


def test_a_change_is_two_transactions(tenant: Tenant) -> None:
    """The change with its entry, and the entry's end."""
    instance_id = tenant.instance()
    assert commits(tenant, lambda: tenant.call("PUT", f"instances/{instance_id}", {"name": "another"})) == 2
    assert [(entry["status"], entry["path"]) for entry in log(tenant, "limit=1")] == [
        (204, tenant.path(f"instances/{instance_id}"))
    ]


def test_a_deletion_that_failed_is_retried_by_those_who_may_delete(tenant: Tenant) -> None:
    instance_id = tenant.instance()
    with tenant.site.database.write() as connection:
        instances.change(connection, instance_id, status="ERROR")
    task = tenant.add_task(instance_id, kind="delete", name="DeleteInstance", status="FAILED")
    path = f"instances/{instance_id}/tasks/{task.id}/retry"
    refused = tenant.colleague("operator").call("POST", path)
    assert refused.refusal == (403, "DCS.2007")
    assert "dcs:instance:delete" in refused.json["error_msg"]
    assert tenant.call("POST", path).status == 200


def test_a_resize_that_failed_is_retried_by_operators(tenant: Tenant) -> None:
    instance_id = tenant.instance()
    task = tenant.add_task(instance_id, status="FAILED", params={"spec_code": "redis.cluster.xu1.large.r1.s1.5"})
    path = f"instances/{instance_id}/tasks/{task.id}/retry"
    assert tenant.colleague("viewer").call("POST", path).refusal == (403, "DCS.2007")
    assert tenant.colleague("operator").call("POST", path).status == 200
