"""Signing in, and what clients ask of IAM to find their project."""

import json
import logging
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest
from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkdcs.v2 import DcsClient, ListInstancesRequest
from huaweicloudsdkdcs.v2.region.dcs_region import DcsRegion
from tenants import Answer, Site, Tenant

from cachewright.clock import now_ms
from cachewright.services import accounts
from cachewright.services.tokens import digest
from cachewright.store import tokens
from database_fixtures import stored_bytes

PASSWORD = "Some-password-1"
MEMBER = object()


@pytest.fixture(scope="module")
def alice(site: Site) -> Tenant:
    """Somebody with a password."""
    return Tenant.added(site).colleague("operator", PASSWORD)


def wish(user: Tenant, password: str = PASSWORD, scope: Any = MEMBER, **user_fields: Any) -> dict[str, Any]:
    who = {"name": user.user_name, "password": password, "domain": {"name": "cachewright"}} | user_fields
    asked: dict[str, Any] = {"identity": {"methods": ["password"], "password": {"user": who}}}
    if scope is not None:
        asked["scope"] = {"project": {"name": user.project.name}} if scope is MEMBER else scope
    return {"auth": asked}


def ask(user: Tenant, body: Any) -> Answer:
    raw = json.dumps(body).encode()
    return user.send("POST", "/v3/auth/tokens", {"Content-Type": "application/json"}, raw)


def token(user: Tenant, **asked: Any) -> str:
    answer = ask(user, wish(user, **asked))
    assert answer.status == 201, answer.body
    return answer.headers["x-subject-token"]


def by_token(user: Tenant, text: str, method: str, path: str, headers: Mapping[str, str] | None = None) -> Answer:
    return user.send(method, path, {"X-Auth-Token": text, **(headers or {})})


def refused(answer: Answer) -> int:
    """The status of a refusal, after a look at its shape, which is that of IAM."""
    error = answer.json["error"]
    assert list(answer.json) == ["error"]
    assert (error["code"], set(error)) == (answer.status, {"code", "message", "title"})
    return answer.status


def test_a_password_gets_a_token_for_a_project(alice: Tenant) -> None:
    answer = ask(alice, wish(alice))
    assert answer.status == 201
    shown = answer.json["token"]
    assert (shown["user"]["id"], shown["user"]["name"]) == (alice.key.user_id, alice.user_name)
    assert (shown["project"]["id"], shown["project"]["name"]) == (alice.project_id, alice.project.name)
    assert shown["user"]["domain"]["name"] == shown["project"]["domain"]["name"] == "cachewright"
    assert [role["name"] for role in shown["roles"]] == ["operator"]
    assert shown["methods"] == ["password"]
    assert shown["issued_at"] < shown["expires_at"]
    urls = {entry["type"]: entry["endpoints"][0]["url"] for entry in shown["catalog"]}
    assert urls["dcs"] == f"http://127.0.0.1:{alice.site.port}/v2/{alice.project_id}"
    assert answer.headers["x-subject-token"] not in answer.body.decode()


@pytest.mark.parametrize("by", ["id", "name"])
def test_a_token_is_as_good_as_a_signature(alice: Tenant, by: str) -> None:
    project = {"id": alice.project_id, "name": alice.project.name}[by]
    text = token(alice, scope={"project": {by: project}})
    assert by_token(alice, text, "GET", alice.path("instances")).json["instance_num"] == 0


def test_a_token_comes_before_a_signature(alice: Tenant) -> None:
    assert alice.call("GET", "instances", headers={"X-Auth-Token": "none"}).refusal == (401, "DCS.1001")
    assert alice.call("GET", "instances", headers={"X-Auth-Token": token(alice)}).status == 200


def test_the_clouds_client_can_send_a_token(alice: Tenant) -> None:
    endpoint = f"http://127.0.0.1:{alice.site.port}"
    stranger = BasicCredentials("nobody", "nothing", alice.project_id)
    client = DcsClient.new_builder().with_credentials(stranger).with_endpoint(endpoint).build()
    client.preset_headers = {"X-Auth-Token": token(alice)}
    assert client.list_instances(ListInstancesRequest()).instance_num == 0


def test_a_token_is_for_one_project(site: Site, alice: Tenant) -> None:
    elsewhere = Tenant.added(site)
    with site.database.write() as connection:
        accounts.grant(connection, alice.user_name, elsewhere.project.name, "admin")
    assert by_token(alice, token(alice), "GET", elsewhere.path("instances")).refusal == (401, "DCS.1004")
    there = token(alice, scope={"project": {"id": elsewhere.project_id}})
    assert by_token(alice, there, "GET", elsewhere.path("instances")).status == 200
    assert by_token(alice, there, "GET", alice.path("instances")).refusal == (401, "DCS.1004")


@pytest.mark.parametrize("scope", [None, {}, {"domain": {"name": "cachewright"}}])
def test_a_token_of_the_account_only_tells_who_its_user_is(alice: Tenant, scope: Any) -> None:
    text = token(alice, scope=scope)
    assert by_token(alice, text, "GET", alice.path("instances")).refusal == (401, "DCS.1004")
    assert by_token(alice, text, "GET", "/v3/auth/domains").json["domains"][0]["name"] == "cachewright"


def test_who_may_not_sign_in_is_told_nothing(site: Site, alice: Tenant) -> None:
    other = Tenant.added(site)
    without = other.colleague("viewer")
    wishes = [
        wish(alice, "Wrong-password-1"),
        wish(alice, name="nobody-of-this-name"),
        wish(without),
        wish(alice, domain={"name": "another"}),
        wish(alice, scope={"project": {"id": other.project_id}}),
        wish(alice, scope={"project": {"id": "0" * 32}}),
        wish(alice, scope={"domain": {"id": "another"}}),
    ]
    answers = [ask(alice, body) for body in wishes]
    assert {refused(answer) for answer in answers} == {401}
    assert len({answer.body for answer in answers}) == 1


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"auth": {}},
        {"auth": None},
        {"auth": {"identity": {"methods": ["token"], "token": {"id": "x"}}}},
        {"auth": {"identity": {"methods": [], "password": {"user": {"name": "a", "password": "b"}}}}},
        {"auth": {"identity": {"methods": ["password"]}}},
        {"auth": {"identity": {"methods": ["password"], "password": {"user": {"name": 1, "password": "b"}}}}},
        {"auth": {"identity": {"methods": ["password"], "password": {"user": {"name": "a", "password": "b" * 1025}}}}},
        [],
    ],
)
def test_a_wish_that_is_malformed_is_refused(alice: Tenant, body: Any) -> None:
    assert refused(ask(alice, body)) == 400


def test_a_wish_that_is_too_large_is_refused(alice: Tenant) -> None:
    assert refused(ask(alice, wish(alice) | {"more": "x" * 20_000})) == 413


def test_many_who_sign_in_at_once_hold_nobody_else_up(site: Site, alice: Tenant) -> None:
    """Each is answered: with a token, or to come again."""
    crowd = [Tenant.added(site).colleague("viewer", PASSWORD) for _ in range(2)] * 15
    with ThreadPoolExecutor(len(crowd)) as pool:
        asked = [pool.submit(ask, user, wish(user)) for user in crowd]
        assert alice.call("GET", "instances").status == 200
    assert {answer.result().status for answer in asked} <= {201, 429}
    assert any(answer.result().status == 201 for answer in asked)


def test_guessing_is_slowed_down(site: Site) -> None:
    guessed = Tenant.added(site).colleague("viewer", PASSWORD)
    answers = [ask(guessed, wish(guessed, f"Wrong-password-{number}")) for number in range(11)]
    assert [refused(answer) for answer in answers] == [401] * 10 + [429]
    assert int(answers[-1].headers["retry-after"]) > 0
    assert refused(ask(guessed, wish(guessed))) == 429


def test_a_token_can_be_looked_up_and_revoked(alice: Tenant) -> None:
    text = token(alice)
    subject = {"X-Subject-Token": text}
    shown = by_token(alice, text, "GET", "/v3/auth/tokens", subject)
    assert shown.json["token"]["project"]["id"] == alice.project_id
    assert shown.headers["x-subject-token"] == text
    assert by_token(alice, text, "DELETE", "/v3/auth/tokens", subject).status == 204
    assert by_token(alice, text, "GET", alice.path("instances")).refusal == (401, "DCS.1001")
    assert refused(alice.call("GET", "/v3/auth/tokens", headers=subject)) == 401


def test_a_token_of_another_user_is_none(site: Site, alice: Tenant) -> None:
    text = token(alice)
    for method in ("GET", "DELETE"):
        assert refused(Tenant.added(site).call(method, "/v3/auth/tokens", headers={"X-Subject-Token": text})) == 401
    assert by_token(alice, text, "GET", alice.path("instances")).status == 200
    assert refused(alice.call("GET", "/v3/auth/tokens")) == 400


def test_a_token_expires(alice: Tenant) -> None:
    text = token(alice)
    with alice.site.database.write() as connection:
        kept = tokens.get(connection, digest(text))
        assert kept
        tokens.remove(connection, kept.digest)
        tokens.add(connection, msgspec.structs.replace(kept, expires_at=now_ms() - 1))
    assert by_token(alice, text, "GET", alice.path("instances")).refusal == (401, "DCS.1002")


@pytest.mark.parametrize("change", ["password", "disabled", "revoked", "deleted"])
def test_a_token_ends_with_what_it_stands_for(site: Site, change: str) -> None:
    user = Tenant.added(site).colleague("viewer", PASSWORD)
    text = token(user)
    with site.database.write() as connection:
        if change == "password":
            accounts.set_password(connection, user.user_name, "Another-password-1")
        if change == "disabled":
            accounts.enable_user(connection, user.user_name, False)
        if change == "revoked":
            accounts.grant(connection, user.user_name, user.project.name, None)
        if change == "deleted":
            accounts.remove_user(connection, user.user_name)
    code = "DCS.1004" if change == "revoked" else "DCS.1001"
    assert by_token(user, text, "GET", user.path("instances")).refusal == (401, code)


def test_neither_token_nor_password_is_kept_or_logged(alice: Tenant, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        text = token(alice)
        by_token(alice, text, "GET", alice.path("instances"))
    assert text not in caplog.text
    assert PASSWORD not in caplog.text
    stored = stored_bytes(alice.site.settings.database_file)
    assert text.encode() not in stored
    assert PASSWORD.encode() not in stored
    assert alice.key.secret_key.encode() not in stored


def test_projects_are_the_callers(site: Site, alice: Tenant) -> None:
    user = Tenant.added(site)
    Tenant.added(site)
    for path in ("/v3/projects", "/v3/auth/projects", f"/v3/projects?name={user.project.name}"):
        bare, _, query = path.partition("?")
        answer = user.call("GET", bare, query=query)
        assert [project["id"] for project in answer.json["projects"]] == [user.project_id]
    assert user.call("GET", "/v3/projects", query="name=another").json["projects"] == []


def test_the_other_lists_are_about_oneself(alice: Tenant) -> None:
    assert [user["id"] for user in alice.call("GET", "/v3/users").json["users"]] == [alice.key.user_id]
    assert alice.call("GET", "/v3/users", query="name=admin").json["users"] == []
    assert [region["id"] for region in alice.call("GET", "/v3/regions").json["regions"]] == ["local"]
    assert refused(alice.send("GET", "/v3/projects", {})) == 401
    assert refused(alice.call("GET", "/v3/groups")) == 404
    assert refused(alice.call("PATCH", "/v3/users")) == 405


@pytest.fixture
def region(site: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    endpoint = f"http://127.0.0.1:{site.port}"
    monkeypatch.setenv("HUAWEICLOUD_SDK_IAM_ENDPOINT", endpoint)
    monkeypatch.setenv("HUAWEICLOUD_SDK_REGION_DCS_LOCAL_9", endpoint)
    return "local-9"


def test_the_clouds_client_finds_the_project_of_a_region(site: Site, region: str) -> None:
    """Built without a project id, it asks for the project that has the region's name."""
    user = Tenant.added(site)
    with site.database.write() as connection:
        project = accounts.add_project(connection, region)
        accounts.grant(connection, user.user_name, region, "viewer")
    credentials = BasicCredentials(user.key.access_key, user.key.secret_key)
    found = DcsRegion.value_of(region)
    client = DcsClient.new_builder().with_credentials(credentials).with_region(found).build()
    assert client.list_instances(ListInstancesRequest()).instance_num == 0
    assert credentials.project_id == project.id


def test_terraform_finds_user_and_project_with_a_password(alice: Tenant) -> None:
    """Its calls, in its order: a token for the project, one for the account, the domain, the user."""
    user = {"name": alice.user_name, "password": PASSWORD, "domain": {"name": "cachewright"}}
    identity_wish = {"methods": ["password"], "password": {"user": user}}
    scopes: list[dict[str, Any]] = [
        {"project": {"name": alice.project.name, "domain": {"name": "cachewright"}}},
        {"domain": {"name": "cachewright"}},
    ]
    got = [ask(alice, {"auth": {"identity": identity_wish, "scope": scope}}) for scope in scopes]
    assert [answer.status for answer in got] == [201, 201]
    project_token, account_token = (answer.headers["x-subject-token"] for answer in got)
    assert got[0].json["token"]["project"]["id"] == alice.project_id
    (domain,) = by_token(alice, account_token, "GET", "/v3/auth/domains").json["domains"]
    assert domain["name"] == "cachewright"
    (found,) = by_token(alice, account_token, "GET", f"/v3/users?name={alice.user_name}").json["users"]
    assert found["id"] == alice.key.user_id
    assert by_token(alice, project_token, "GET", alice.path("instances")).status == 200
