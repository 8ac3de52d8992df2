"""Webhooks are created, listed, tested and deleted. `tests/webhooks/test_delivery.py` tests deliveries."""

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from tenants import Tenant

from cachewright.store import tasks, webhooks
from database_fixtures import stored_bytes

URL = "http://127.0.0.1:9/hook"


def made(tenant: Tenant, **body: Any) -> Any:
    answer = tenant.call("POST", "webhooks", {"url": URL} | body)
    assert answer.status == 200, answer.body
    return answer.json


def deliveries(tenant: Tenant, webhook: Any, query: str = "") -> Any:
    return tenant.call("GET", f"webhooks/{webhook['id']}/deliveries", query=query).json


def test_a_webhook_is_made_listed_and_deleted(tenant: Tenant) -> None:
    first = made(tenant)
    second = made(tenant, url="https://example.com:8443/a?b=c", events=["io.cachewright.task.failed"] * 2)
    assert first["secret"].startswith("whsec_")
    assert first["secret"] != second["secret"]
    assert (first["events"], second["events"]) == ([], ["io.cachewright.task.failed"])
    listed = tenant.call("GET", "webhooks").json["webhooks"]
    assert listed == [{name: hook[name] for name in hook if name != "secret"} for hook in (first, second)]
    assert tenant.call("DELETE", f"webhooks/{first['id']}").status == 204
    assert [hook["id"] for hook in tenant.call("GET", "webhooks").json["webhooks"]] == [second["id"]]
    assert tenant.call("DELETE", f"webhooks/{first['id']}").refusal == (404, "DCS.4967")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"url": ""},
        {"url": "ftp://example.com/"},
        {"url": "http://"},
        {"url": "http:///path"},
        {"url": "http://user:secret@example.com/"},
        {"url": "http://user@example.com/"},
        {"url": "http://example.com:0/"},
        {"url": "http://example.com:99999/"},
        {"url": "http://[::1/"},
        {"url": "http://example.com/#part"},
        {"url": "http://example.com/\r\nX-Header: a"},
        {"url": "http://exämple.com/"},
        {"url": "http://example.com/" + "a" * 2048},
        {"url": 1},
        {"url": URL, "events": ["io.cachewright.task.exploded"]},
        {"url": URL, "events": ["io.cachewright.task.failed"] * 7},
        {"url": URL, "events": "io.cachewright.task.failed"},
    ],
)
def test_what_is_no_webhook_is_refused_and_not_kept(tenant: Tenant, body: Any) -> None:
    assert tenant.call("POST", "webhooks", body).refusal == (400, "DCS.4062")
    assert tenant.call("GET", "webhooks").json == {"webhooks": []}


def test_a_project_has_ten_at_the_most(tenant: Tenant) -> None:
    for _ in range(10):
        made(tenant)
    assert tenant.call("POST", "webhooks", {"url": URL}).refusal == (400, "DCS.4966")


def test_another_projects_webhook_is_not_there(tenant: Tenant, new_tenant: Callable[[], Tenant]) -> None:
    hidden = made(new_tenant())["id"]
    assert tenant.call("GET", "webhooks").json == {"webhooks": []}
    for method, rest in (("DELETE", ""), ("POST", "/test"), ("GET", "/deliveries")):
        for webhook_id in (hidden, "0" * 32, "x"):
            assert tenant.call(method, f"webhooks/{webhook_id}{rest}").refusal == (404, "DCS.4967")


def test_a_secret_is_shown_once_and_sealed(tenant: Tenant) -> None:
    secret = made(tenant)["secret"]
    assert secret not in tenant.call("GET", "webhooks").body.decode()
    assert secret.encode() not in stored_bytes(tenant.site.settings.database_file)


def test_what_becomes_of_a_task_is_stored_with_it(tenant: Tenant, new_tenant: Callable[[], Tenant]) -> None:
    every, failures, elsewhere = made(tenant), made(tenant, events=["io.cachewright.task.failed"]), new_tenant()
    others = made(elsewhere)
    instance_id = tenant.instance()
    task = tenant.add_task(instance_id)
    with tenant.site.database.write() as connection:
        ended = msgspec.structs.replace(task, status="FAILED", end_time=1_592_379_530_000)
        tasks.save(connection, tasks.save(connection, ended))
    shown = deliveries(tenant, every)
    assert shown["count"] == 3
    assert [(d["event"], d["subject"], d["status"], d["attempts"]) for d in shown["deliveries"][:2]] == [
        ("io.cachewright.task.failed", task.id, "WAITING", 0),
        ("io.cachewright.task.executing", task.id, "WAITING", 0),
    ]
    assert [d["event"] for d in deliveries(tenant, failures)["deliveries"]] == ["io.cachewright.task.failed"]
    assert deliveries(elsewhere, others) == {"count": 0, "deliveries": []}
    assert len(deliveries(tenant, every, "offset=1&limit=1")["deliveries"]) == 1
    with tenant.site.database.read() as connection:
        stored = webhooks.delivery(connection, shown["deliveries"][0]["id"])
    assert stored
    event = json.loads(stored.body)
    assert event["id"] == stored.id
    assert (event["specversion"], event["type"]) == ("1.0", "io.cachewright.task.failed")
    assert event["source"] == f"/v2/{tenant.project_id}/instances/{instance_id}"
    assert (event["subject"], event["time"]) == (task.id, "2020-06-17T07:38:50.000Z")
    assert (event["data"]["status"], event["data"]["instance_id"]) == ("FAILED", instance_id)


def test_a_deleted_webhook_takes_with_it_what_was_on_its_way(tenant: Tenant) -> None:
    hook = made(tenant)
    sent = tenant.call("POST", f"webhooks/{hook['id']}/test").json
    assert sent["event"] == "io.cachewright.webhook.test"
    tenant.call("DELETE", f"webhooks/{hook['id']}")
    with tenant.site.database.read() as connection:
        assert webhooks.delivery(connection, sent["id"]) is None
