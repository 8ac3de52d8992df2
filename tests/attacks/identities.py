"""Users of a real server, made beside it in its data directory, and the requests that they send."""

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec
import sqlalchemy as sa
from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkcore.sdk_request import SdkRequest
from huaweicloudsdkcore.signer.signer import Signer

from cachewright.config import Settings
from cachewright.model.identity import AccessKey, Project, RoleName
from cachewright.services import accounts
from cachewright.store.opening import open_in_use
from serving import Server, http_client

PASSWORD = "Some-password-1"
SESSION_COOKIE = "cachewright_session"


@contextmanager
def beside(server: Server) -> Iterator[sa.Connection]:
    """A write transaction on the server's database, by another process than the server."""
    database = open_in_use(Settings(data_dir=server.data_dir))
    try:
        with database.write() as connection:
            yield connection
    finally:
        database.close()


class Person(msgspec.Struct, frozen=True):
    """A user with a password, a key, and a role in one project."""

    server: Server
    name: str
    project: Project
    key: AccessKey

    @classmethod
    def made(cls, server: Server, role: RoleName, project: Project | None = None) -> "Person":
        """In a project of its own unless one is given."""
        with beside(server) as connection:
            project = project or accounts.add_project(connection, f"p-{uuid.uuid4().hex[:12]}")
            user = accounts.add_user(connection, f"u-{uuid.uuid4().hex[:12]}", PASSWORD)
            accounts.grant(connection, user.name, project.name, role)
            return cls(server, user.name, project, accounts.add_key(connection, user.name).key)

    def path(self, rest: str) -> str:
        return f"/v2/{self.project.id}/{rest}"

    def signed(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Request:
        """`path` is below the project."""
        endpoint, resource = self.server.credentials["endpoint"], self.path(path)
        raw = b"" if body is None else json.dumps(body).encode()
        request = SdkRequest(
            method=method,
            schema="http",
            host=urlsplit(endpoint).netloc,
            resource_path=resource,
            query_params=[],
            header_params={"Content-Type": "application/json", **headers},
            body=raw,
        )
        credentials = BasicCredentials(self.key.access_key, self.key.secret_key, self.project.id)
        signed = Signer(credentials).sign(request)
        return httpx.Request(method, endpoint + resource, headers=signed.header_params, content=raw)

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        with http_client() as http:
            return http.send(self.signed(method, path, body, **headers))

    def by_token(self, token: str, method: str, path: str) -> httpx.Response:
        return send(self.server, method, self.path(path), {"X-Auth-Token": token})

    def audit(self) -> list[dict[str, Any]]:
        """Entries of the project, newest first."""
        entries: list[dict[str, Any]] = self.call("GET", "audit").json()["entries"]
        return entries


def send(
    server: Server,
    method: str,
    path: str,
    headers: dict[str, str] | None = None,
    *,
    body: Any = None,
    address: str = "",
) -> httpx.Response:
    """Without a signature. `address` is the client's own address, one of those of the loopback."""
    with http_client(address) as http:
        return http.request(method, server.credentials["endpoint"] + path, headers=headers or {}, json=body)


def sign_in(
    server: Server,
    name: str,
    project: Project | None = None,
    *,
    password: str = PASSWORD,
    address: str = "",
    headers: dict[str, str] | None = None,
) -> httpx.Response:
    """By the API of tokens."""
    user = {"name": name, "password": password, "domain": {"name": "cachewright"}}
    auth: dict[str, Any] = {"identity": {"methods": ["password"], "password": {"user": user}}}
    if project is not None:
        auth["scope"] = {"project": {"id": project.id}}
    return send(server, "POST", "/v3/auth/tokens", headers, body={"auth": auth}, address=address)


def token(person: Person) -> str:
    answer = sign_in(person.server, person.name, person.project)
    assert answer.status_code == 201, answer.text
    return str(answer.headers["x-subject-token"])


def session(person: Person) -> tuple[str, str]:
    """Cookie and CSRF token of a session of the console."""
    body = {"name": person.name, "password": PASSWORD}
    answer = send(person.server, "POST", "/console/session", body=body)
    assert answer.status_code == 200, answer.text
    return str(answer.cookies[SESSION_COOKIE]), str(answer.json()["csrf_token"])
