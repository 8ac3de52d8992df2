"""The console's session: a cookie that no script reads, and that alone changes nothing."""

from collections.abc import Callable, Mapping
from http.cookies import SimpleCookie

import pytest
from tenants import PASSWORD, Answer, Tenant

from cachewright.services import accounts

JSON = {"content-type": "application/json"}


@pytest.fixture
def user(tenant: Tenant) -> Tenant:
    """An operator with a password."""
    return tenant.colleague("operator", PASSWORD)


class Browser:
    """Keeps the cookie and the word that changes need."""

    def __init__(self, tenant: Tenant, signed_in: Answer) -> None:
        assert signed_in.status == 200, signed_in.body
        self.tenant = tenant
        self.keep(signed_in)

    def keep(self, answer: Answer) -> None:
        self.session = answer.json
        self.cookie = SimpleCookie(answer.headers["set-cookie"])["cachewright_session"]

    def send(self, method: str, target: str, body: bytes = b"", **headers: str) -> Answer:
        """Without the word, unless it is among the headers; `_` stands for `-`."""
        known = {name.replace("_", "-"): value for name, value in headers.items()}
        also = JSON if body else {}
        return self.tenant.send(
            method, target, {"Cookie": f"cachewright_session={self.cookie.value}", **also, **known}, body
        )

    def change(self, method: str, target: str, body: bytes = b"", **headers: str) -> Answer:
        return self.send(method, target, body, x_csrf_token=self.session["csrf_token"], **headers)


def sign_in(tenant: Tenant, name: str, password: str = PASSWORD, headers: Mapping[str, str] | None = None) -> Answer:
    body = f'{{"name": "{name}", "password": "{password}"}}'.encode()
    return tenant.send("POST", "/console/session", {**JSON, **(headers or {})}, body)


@pytest.fixture
def browser(user: Tenant) -> Browser:
    return Browser(user, sign_in(user, user.user_name))


def test_who_signs_in_is_told_who_they_are(browser: Browser, user: Tenant) -> None:
    session = browser.session
    assert session["user"] == {"id": user.key.user_id, "name": user.user_name}
    assert session["project"] == {"id": user.project_id, "name": user.project.name}
    assert session["projects"] == [session["project"]]
    assert session["role"] == "operator"
    assert browser.send("GET", "/console/session").json == session


def test_no_script_reads_the_cookie_and_no_other_site_sends_it(browser: Browser) -> None:
    assert browser.cookie["httponly"] is True
    assert browser.cookie["samesite"].lower() == "strict"
    assert (browser.cookie["path"], int(browser.cookie["max-age"])) == ("/", 24 * 3600)
    assert browser.cookie.value not in str(browser.session)


def test_a_wrong_password_is_refused(user: Tenant) -> None:
    answer = sign_in(user, user.user_name, "Wrong-password-1")
    assert answer.refusal == (401, "DCS.1001")
    assert "set-cookie" not in answer.headers


def test_who_has_no_role_anywhere_is_not_let_in(tenant: Tenant) -> None:
    nobody = tenant.colleague(None, PASSWORD)
    assert sign_in(tenant, nobody.user_name).refusal == (401, "DCS.1004")


def test_the_session_reads_and_changes(browser: Browser, user: Tenant) -> None:
    assert browser.send("GET", user.path("instances")).status == 200
    instance_id = user.instance()
    body = b'{"name": "another-name"}'
    assert browser.change("PUT", user.path(f"instances/{instance_id}"), body).status == 204
    assert user.stored(instance_id).name == "another-name"


@pytest.mark.parametrize("word", [None, "", "x", "é".encode().decode("latin-1")])
def test_the_cookie_alone_changes_nothing(browser: Browser, user: Tenant, word: str | None) -> None:
    instance_id = user.instance()
    name = user.stored(instance_id).name
    headers = {} if word is None else {"x_csrf_token": word}
    path = user.path(f"instances/{instance_id}")
    assert browser.send("PUT", path, b'{"name": "stolen"}', **headers).refusal == (403, "DCS.4969")
    assert browser.send("DELETE", path, **headers).refusal == (403, "DCS.4969")
    assert user.stored(instance_id).name == name


def test_the_word_of_another_session_is_no_good(browser: Browser, user: Tenant) -> None:
    other = Browser(user, sign_in(user, user.user_name))
    answer = browser.send("DELETE", "/console/session", x_csrf_token=other.session["csrf_token"])
    assert answer.refusal == (403, "DCS.4969")


@pytest.mark.parametrize("asked_by", ["cross-site", "same-site"])
def test_another_site_gets_nothing(browser: Browser, user: Tenant, asked_by: str) -> None:
    assert browser.send("GET", user.path("instances"), sec_fetch_site=asked_by).refusal == (403, "DCS.4969")
    assert sign_in(user, user.user_name, headers={"sec-fetch-site": asked_by}).refusal == (403, "DCS.4969")
    assert browser.send("GET", user.path("instances"), sec_fetch_site="same-origin").status == 200


def test_a_form_of_another_site_signs_nobody_in(user: Tenant) -> None:
    answer = user.send("POST", "/console/session", {"content-type": "text/plain"}, b'{"name": "a", "password": "b"}')
    assert answer.refusal == (415, "DCS.4963")


def test_the_role_holds(tenant: Tenant) -> None:
    viewer = tenant.colleague("viewer", PASSWORD)
    browser = Browser(viewer, sign_in(viewer, viewer.user_name))
    instance_id = tenant.instance()
    assert browser.change("DELETE", viewer.path(f"instances/{instance_id}")).refusal == (403, "DCS.2007")


def test_signing_out_ends_it(browser: Browser, user: Tenant) -> None:
    answer = browser.change("DELETE", "/console/session")
    assert answer.status == 204
    assert SimpleCookie(answer.headers["set-cookie"])["cachewright_session"]["max-age"] == "0"
    assert browser.send("GET", user.path("instances")).refusal == (401, "DCS.1001")


def test_one_project_at_a_time(browser: Browser, user: Tenant, new_tenant: Callable[[], Tenant]) -> None:
    elsewhere, strange = new_tenant(), new_tenant()
    with user.site.database.write() as connection:
        accounts.grant(connection, user.user_name, elsewhere.project.name, "viewer")
    assert browser.send("GET", elsewhere.path("instances")).refusal == (401, "DCS.1004")
    old = browser.cookie.value
    answer = browser.change("PUT", "/console/session", f'{{"project_id": "{elsewhere.project_id}"}}'.encode())
    browser.keep(answer)
    assert (browser.session["role"], browser.session["project"]["id"]) == ("viewer", elsewhere.project_id)
    assert browser.send("GET", elsewhere.path("instances")).status == 200
    assert browser.send("GET", user.path("instances")).refusal == (401, "DCS.1004")
    assert browser.cookie.value != old
    denied = browser.change("PUT", "/console/session", f'{{"project_id": "{strange.project_id}"}}'.encode())
    assert denied.refusal == (401, "DCS.1004")
    assert browser.send("GET", elsewhere.path("instances")).status == 200, "who is refused another stays where they are"


@pytest.mark.parametrize(
    "cookie", ["cachewright_session=", "cachewright_session=x", "cachewright_session", "=;;=", 'cachewright_session="']
)
def test_what_is_no_session_is_refused(tenant: Tenant, cookie: str) -> None:
    answer = tenant.send("GET", tenant.path("instances"), {"Cookie": cookie})
    assert answer.status == 401
    assert answer.code in {"DCS.1001", "DCS.1003"}


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b'{"name": "a"}', b'{"name": "a", "password": 1}', b'{"name": "a", "password": "b", "x": 1}'],
)
def test_a_misshapen_sign_in_is_refused(tenant: Tenant, body: bytes) -> None:
    answer = tenant.send("POST", "/console/session", JSON, body)
    assert answer.status == 400
    assert answer.code.startswith("DCS.4")


def test_a_signed_caller_has_no_session(tenant: Tenant) -> None:
    assert tenant.call("GET", "/console/session").refusal == (401, "DCS.1003")


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/console", "text/html"),
        ("/console/", "text/html"),
        ("/console/main.js", "text/javascript"),
        ("/console/style.css", "text/css"),
        ("/console/icon.svg", "image/svg+xml"),
    ],
)
def test_pages_are_for_everybody_and_run_nothing_else(tenant: Tenant, path: str, kind: str) -> None:
    answer = tenant.send("GET", path, {})
    assert answer.status == 200
    assert answer.headers["content-type"].startswith(kind)
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self';")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    again = tenant.send("GET", path, {"if-none-match": answer.headers["etag"]})
    assert (again.status, again.body) == (304, b"")


@pytest.mark.parametrize(
    "path", ["/console/x", "/console/../main.js", "/console/%2e%2e/pages.py", "/console/__init__.py"]
)
def test_nothing_else_is_handed_out(tenant: Tenant, path: str) -> None:
    assert tenant.send("GET", path, {}).refusal == (401, "DCS.1003")
