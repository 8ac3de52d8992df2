"""What every request must pass, on a running server."""

import logging
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from huaweicloudsdkcore.exceptions.exceptions import ClientRequestException
from huaweicloudsdkdcs.v2 import ListInstancesRequest
from tenants import Tenant

from cachewright.store import instances

UNSIGNED: dict[str, str] = {}


def dated(offset: timedelta) -> dict[str, str]:
    return {"X-Sdk-Date": f"{datetime.now(UTC) + offset:%Y%m%dT%H%M%SZ}"}


def test_the_clouds_client_is_understood(tenant: Tenant) -> None:
    assert tenant.client.list_instances(ListInstancesRequest()).instance_num == 0


def test_a_request_without_credentials_is_refused(tenant: Tenant) -> None:
    assert tenant.send("GET", tenant.path("instances"), UNSIGNED).refusal == (401, "DCS.1003")


@pytest.mark.parametrize("token", ["t", "", " ", "é" * 300, "a" * 10_000])
def test_tokens_that_are_none_are_refused(tenant: Tenant, token: str) -> None:
    assert tenant.send("GET", tenant.path("instances"), {"X-Auth-Token": token}).refusal == (401, "DCS.1001")


def test_a_target_that_is_too_long_is_refused(tenant: Tenant) -> None:
    assert tenant.call("GET", "instances", query=f"name={'a' * 9000}").refusal == (414, "DCS.4965")


@pytest.mark.parametrize("headers", [{"X-Large": "a" * 17_000}, {f"X-{number}": "a" for number in range(65)}])
def test_headers_that_are_too_much_are_refused(tenant: Tenant, headers: dict[str, str]) -> None:
    assert tenant.send("GET", tenant.path("instances"), headers).refusal == (431, "DCS.4964")


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/bson", "json"])
def test_a_body_that_is_declared_as_something_else_is_refused(tenant: Tenant, kind: str) -> None:
    answer = tenant.call("POST", "instances", tenant.create_body(), headers={"Content-Type": kind})
    assert answer.refusal == (415, "DCS.4963")


@pytest.mark.parametrize("kind", ["application/json", "application/json; charset=UTF-8"])
def test_a_body_that_is_declared_as_json_is_read(tenant: Tenant, kind: str) -> None:
    assert tenant.call("POST", "instances", b"{}", headers={"Content-Type": kind}).code == "DCS.4010"


@pytest.mark.parametrize("offset", [timedelta(minutes=-16), timedelta(minutes=16)])
def test_a_request_of_another_time_is_refused(tenant: Tenant, offset: timedelta) -> None:
    assert tenant.call("GET", "instances", headers=dated(offset)).refusal == (401, "DCS.1002")


@pytest.mark.parametrize("offset", [timedelta(minutes=-14), timedelta(minutes=14)])
def test_a_clock_may_be_a_quarter_of_an_hour_off(tenant: Tenant, offset: timedelta) -> None:
    assert tenant.call("GET", "instances", headers=dated(offset)).status == 200


def test_unknown_key_wrong_secret_and_disabled_key_look_alike(
    tenant: Tenant, new_tenant: Callable[..., Tenant]
) -> None:
    request = tenant.signed("GET", tenant.path("instances"), b"", "", {})
    authorization = request.header_params["Authorization"]
    unknown = authorization.replace(tenant.key.access_key, "NOBODY")
    wrong = authorization[:-1] + ("0" if authorization[-1] != "0" else "1")
    answers = [
        tenant.send("GET", tenant.path("instances"), request.header_params | {"Authorization": claim})
        for claim in (unknown, wrong)
    ]
    answers.append(new_tenant(enabled=False).call("GET", "instances"))
    assert {(answer.refusal, answer.body) for answer in answers} == {((401, "DCS.1001"), answers[0].body)}


@pytest.mark.parametrize("claim", ["", "Basic eDp5", "SDK-HMAC-SHA256", "SDK-HMAC-SHA256 Access=é", "\xff" * 300])
def test_other_authorizations_are_refused(tenant: Tenant, claim: str) -> None:
    assert tenant.send("GET", tenant.path("instances"), {"Authorization": claim}).refusal == (401, "DCS.1001")


def test_another_project_is_refused_whether_it_exists_or_not(tenant: Tenant, new_tenant: Callable[..., Tenant]) -> None:
    other = new_tenant()
    bodies = set()
    for project in (other.project_id, "0" * 32, "%7Bproject_id%7D", "x"):
        for rest in ("instances", "instances/malformed", "nowhere"):
            answer = tenant.call("GET", f"/v2/{project}/{rest}")
            assert answer.refusal == (401, "DCS.1004")
            bodies.add(answer.body)
    assert len(bodies) == 1


def test_instances_of_another_project_are_not_there(tenant: Tenant, new_tenant: Callable[..., Tenant]) -> None:
    hidden = new_tenant().instance()
    for method, rest in (("GET", ""), ("DELETE", ""), ("GET", "/tasks"), ("GET", f"/tasks/{1:032x}/progress")):
        assert tenant.call(method, f"instances/{hidden}{rest}").refusal == (404, "DCS.3022")


def test_a_project_header_that_is_not_signed_changes_nothing(tenant: Tenant) -> None:
    request = tenant.signed("GET", tenant.path("instances"), b"", "", {})
    headers = request.header_params | {"X-Project-Id": "another", "X-Domain-Id": "another"}
    assert tenant.send("GET", tenant.path("instances"), headers).status == 200


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "//",
        "/v2",
        "/documents",
        "/schema",
        "/openapi.yaml",
        "/favicon.ico",
        "//v2/p/instances",
        "/v2/",
    ],
)
def test_unknown_paths_are_not_found(tenant: Tenant, path: str) -> None:
    assert tenant.call("GET", path).refusal == (404, "DCS.4001")
    assert tenant.send("GET", path, UNSIGNED).refusal == (401, "DCS.1003")


@pytest.mark.parametrize(
    "rest",
    ["nowhere", "instances//", "instances/%ff", "instances/x/y/z", "%2e%2e/instances", "instances/a%2Fb/resize/c"],
)
def test_unknown_paths_of_a_project_are_not_found(tenant: Tenant, rest: str) -> None:
    assert tenant.raw_call("GET", tenant.path(rest)).refusal == (404, "DCS.4001")


def test_an_escaped_slash_stays_in_its_segment(tenant: Tenant) -> None:
    assert tenant.raw_call("GET", tenant.path("instances/a%2Fb")).refusal == (400, "DCS.4061")


@pytest.mark.parametrize("method", ["PUT", "PATCH", "OPTIONS", "TRACE", "FOO", "get", "HEAD"])
def test_other_methods_are_not_allowed(tenant: Tenant, method: str) -> None:
    answer = tenant.raw_call(method, tenant.path("instances"))
    assert answer.status == 405
    assert set(answer.headers["allow"].split(", ")) == {"GET", "POST", "DELETE"}
    assert method == "HEAD" or answer.code == "DCS.5001"


def test_a_body_that_is_not_signed_is_refused(tenant: Tenant) -> None:
    headers = {"X-Sdk-Content-Sha256": "UNSIGNED-PAYLOAD"}
    answer = tenant.call("POST", "instances", tenant.create_body(), headers=headers)
    assert answer.refusal == (401, "DCS.1001")


def test_a_body_over_the_limit_is_refused(tenant: Tenant) -> None:
    assert tenant.call("POST", "instances", b" " * (12 * 1024 * 1024 + 1)).refusal == (413, "DCS.4960")


def test_a_body_at_the_limit_is_read(tenant: Tenant) -> None:
    assert tenant.call("POST", "instances", b" " * (12 * 1024 * 1024)).refusal == (400, "DCS.4004")


def test_an_announced_body_that_is_far_too_large_is_not_waited_for(tenant: Tenant) -> None:
    with socket.create_connection(("127.0.0.1", tenant.site.port), timeout=10) as connection:
        connection.sendall(b"POST /v2/p/instances HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999999\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 413 ")


def test_raw_bytes_in_path_and_query_are_refused(tenant: Tenant) -> None:
    target = tenant.path("instances").encode() + b"/\xc3\xa9\xff?name=\xff\xfe"
    with socket.create_connection(("127.0.0.1", tenant.site.port), timeout=10) as connection:
        connection.sendall(b"GET " + target + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert connection.recv(65536).startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 401 "))


def test_a_header_with_any_bytes_is_refused(tenant: Tenant) -> None:
    request = tenant.signed("GET", tenant.path("instances"), b"", "", {})
    for name in ("X-Sdk-Date", "Authorization"):
        headers = request.header_params | {name: "\xff\xfe" + request.header_params[name]}
        assert tenant.send("GET", tenant.path("instances"), headers).refusal == (401, "DCS.1001")


def test_a_fault_is_an_answer_with_an_id_that_the_log_knows(tenant: Tenant, caplog: pytest.LogCaptureFixture) -> None:
    broken = tenant.instance()
    with tenant.site.database.write() as connection:
        instances.change(connection, broken, spec_code="no spec code")
    with caplog.at_level(logging.ERROR):
        answer = tenant.call("GET", f"instances/{broken}")
    assert answer.refusal == (500, "DCS.5000")
    assert answer.headers["x-request-id"] in answer.json["error_msg"]
    assert answer.headers["x-request-id"] in caplog.text


def test_the_clouds_client_reads_a_refusal(tenant: Tenant) -> None:
    with pytest.raises(ClientRequestException) as refused:
        tenant.client.list_instances(ListInstancesRequest(limit=0))
    assert (refused.value.status_code, refused.value.error_code) == (400, "DCS.4062")
    assert "limit" in refused.value.error_msg
    assert len(refused.value.request_id) == 32


def test_secrets_are_not_logged(tenant: Tenant, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        tenant.call("POST", "instances", tenant.create_body(password="Visible-secret-1"))
        tenant.call("POST", "instances", tenant.create_body(password="Visible-secret-1", port="x"))
    assert tenant.key.secret_key not in caplog.text
    assert "Visible-secret-1" not in caplog.text


def test_there_are_no_websockets(tenant: Tenant) -> None:
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    key = {"Sec-WebSocket-Key": "MDEyMzQ1Njc4OWFiY2RlZg=="}
    assert tenant.send("GET", tenant.path("instances"), upgrade | key).refusal == (401, "DCS.1003")
