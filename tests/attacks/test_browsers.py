"""Responses to browsers: headers, and links that no request can forge."""

import re
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import trustme

from commands import run
from sdk_calls import PASSWORD, newest_task
from serving import COMMAND, Server


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Speaks HTTPS, and is reached by another URL."""
    folder = tmp_path_factory.mktemp("secure")
    issued = trustme.CA().issue_cert("127.0.0.1")
    cert, key = folder / "cert.pem", folder / "key.pem"
    issued.cert_chain_pems[0].write_to_path(cert)
    issued.private_key_pem.write_to_path(key)
    public = ("--public-url", "https://caches.example.com:8443/")
    started = Server(folder / "data", (*COMMAND, "--tls-cert", str(cert), "--tls-key", str(key), *public))
    try:
        started.start()
        yield started
    finally:
        started.clean_up()


@pytest.fixture(scope="module")
def http() -> Iterator[httpx.Client]:
    with httpx.Client(verify=False, timeout=60) as client:  # noqa: S501  # the certificate is not what is tested
        yield client


def answers_of(server: Server, http: httpx.Client) -> dict[str, httpx.Response]:
    """Of every part of the server that makes answers by itself."""
    root = server.credentials["endpoint"]
    known = {path: http.get(root + path) for path in ("/docs", "/console", "/openapi.json", "/metrics", "/nothing")}
    known["instances"] = http.send(server.signed("GET", "instances"))
    known["too long"] = http.get(root + "/docs?" + "a" * 9000)
    return known


def test_browsers_are_told_what_not_to_do(server: Server, http: httpx.Client) -> None:
    for name, answer in answers_of(server, http).items():
        assert answer.headers.get_list("x-content-type-options") == ["nosniff"], name
        assert "strict-transport-security" not in answer.headers, name
        if name in {"/docs", "/console"}:
            assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
            assert answer.headers.get_list("referrer-policy") == ["no-referrer"]


def test_with_tls_browsers_keep_to_it(secure: Server, http: httpx.Client) -> None:
    for name, answer in answers_of(secure, http).items():
        assert answer.headers.get_list("strict-transport-security") == ["max-age=31536000"], name


def test_progress_has_the_same_headers(server: Server, http: httpx.Client, task: tuple[str, str]) -> None:
    answer = http.send(server.signed("GET", f"instances/{task[0]}/tasks/{task[1]}/progress"))
    assert answer.status_code == 200
    assert answer.headers.get_list("x-content-type-options") == ["nosniff"]


@pytest.fixture
def task(server: Server, instance_id: str) -> tuple[str, str]:
    """An instance and its creation."""
    return instance_id, str(newest_task(server.client(), instance_id).id)


class Session:
    """A user with a password, who asks what a token is good for: the answer has links."""

    def __init__(self, server: Server, http: httpx.Client) -> None:
        self._root, self._http = server.credentials["endpoint"], http
        self.name = f"reader-{uuid.uuid4().hex[:8]}"
        words = ("users", "create", self.name, "--role", "viewer", "--project", "local", "--password-stdin")
        made = run(*words, "--data-dir", server.data_dir, typed=f"{PASSWORD}\n")
        assert made.returncode == 0, made.stderr
        user = {"name": self.name, "password": PASSWORD, "domain": {"name": "cachewright"}}
        scope = {"project": {"name": "local"}}
        body = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}}
        answer = http.post(f"{self._root}/v3/auth/tokens", json=body, timeout=60)
        assert answer.status_code == 201, answer.text
        self._token = answer.headers["x-subject-token"]

    def links(self, host: str | None = None) -> set[str]:
        """Scheme and host of each link in the catalogue; none where the request is refused."""
        headers = {"X-Auth-Token": self._token, "X-Subject-Token": self._token, **({"Host": host} if host else {})}
        answer = self._http.get(f"{self._root}/v3/auth/tokens", headers=headers)
        if answer.status_code == 400:
            return set()
        assert answer.status_code == 200, answer.text
        found = re.findall(r'"url":"(.+?)/(?:v[23][^"]*)?"', answer.text)
        assert found
        assert len(found) == answer.text.count('"url":')
        return set(found)


@pytest.fixture(scope="module")
def session(server: Server, http: httpx.Client) -> Iterator[Session]:
    made = Session(server, http)
    yield made
    run("users", "remove", made.name, "--data-dir", server.data_dir)


@pytest.mark.parametrize("host", ["caches.example.com", "10.1.2.3:80", "[::1]:8765", "a_b.example."])
def test_links_have_the_host_of_the_request(session: Session, host: str) -> None:
    assert session.links(host) == {f"http://{host}"}


@pytest.mark.parametrize(
    "host",
    [
        '"><script>alert(1)</script>',
        "user@evil.example",
        "evil.example/path",
        "evil.example?a",
        "evil.example:80:80",
        "evil.example:port",
        "[evil.example]",
        "a b",
        "-",
        "evil.example#",
    ],
)
def test_a_host_that_is_none_gets_into_no_link(session: Session, server: Server, host: str) -> None:
    assert session.links(host) <= {server.credentials["endpoint"]}


def test_links_have_the_public_url_whatever_a_request_says(secure: Server, http: httpx.Client) -> None:
    session = Session(secure, http)
    for host in (None, "evil.example"):
        assert session.links(host) == {"https://caches.example.com:8443"}


def test_what_is_no_public_url_is_refused_in_a_line(tmp_path: Path) -> None:
    code, said = Server(tmp_path / "data", (*COMMAND, "--public-url", "ftp://a")).refusal()
    assert (code, said.count("\n"), said.startswith("cachewright: ")) == (1, 1, True)
