"""A caller of the API: with the cloud's own client, and with requests that no client would send."""

import http.client
import json
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

import msgspec
from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkcore.sdk_request import SdkRequest
from huaweicloudsdkcore.signer.signer import Signer
from huaweicloudsdkdcs.v2 import DcsClient
from sqlalchemy import Connection

from cachewright.config import Settings
from cachewright.hosts.ports import free_ports
from cachewright.model.identity import AccessKey, Project, RoleName
from cachewright.model.instances import Instance
from cachewright.model.tasks import Task
from cachewright.monitoring.node_stats import StatsCollector
from cachewright.services import accounts
from cachewright.signature import SignedRequest, signature
from cachewright.store import instances, tasks
from cachewright.store.database import Database

PASSWORD = "Test-password-1"


class Site(msgspec.Struct, frozen=True):
    database: Database
    settings: Settings
    statistics: StatsCollector
    port: int


class Answer(msgspec.Struct, frozen=True):
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The error code, after a look at the shape that every error of DCS must have."""
        assert self.headers["content-type"] == "application/json"
        assert list(self.json) == ["error_code", "error_msg", "error_ext_msg"]
        assert 0 < len(self.json["error_msg"]) <= 1024
        assert self.json["error_ext_msg"] is None
        return str(self.json["error_code"])

    @property
    def refusal(self) -> tuple[int, str]:
        return self.status, self.code


class Tenant:
    """A user with a key and a role in one project."""

    def __init__(self, site: Site, key: AccessKey, project: Project, user_name: str) -> None:
        self.site = site
        self.key = key
        self.project = project
        self.project_id = project.id
        self.user_name = user_name

    @classmethod
    def added(cls, site: Site, *, enabled: bool = True) -> "Tenant":
        """Another project with its admin."""
        with site.database.write() as connection:
            project = accounts.add_project(connection, f"p-{uuid.uuid4().hex[:12]}")
            tenant = cls._with_key(site, connection, project, "admin")
            if not enabled:
                accounts.enable_key(connection, tenant.key.access_key, False)
        return tenant

    def colleague(self, role: RoleName | None, password: str | None = None) -> "Tenant":
        """Another user, with this role in the same project."""
        with self.site.database.write() as connection:
            return self._with_key(self.site, connection, self.project, role, password)

    @classmethod
    def _with_key(
        cls, site: Site, connection: Connection, project: Project, role: RoleName | None, password: str | None = None
    ) -> "Tenant":
        user = accounts.add_user(connection, f"u-{uuid.uuid4().hex[:12]}", password)
        accounts.grant(connection, user.name, project.name, role)
        return cls(site, accounts.add_key(connection, user.name).key, project, user.name)

    @property
    def credentials(self) -> BasicCredentials:
        return BasicCredentials(self.key.access_key, self.key.secret_key, self.project_id)

    @property
    def client(self) -> Any:
        """The cloud's own client, unmodified."""
        endpoint = f"http://127.0.0.1:{self.site.port}"
        return DcsClient.new_builder().with_credentials(self.credentials).with_endpoint(endpoint).build()

    def path(self, rest: str) -> str:
        return f"/v2/{self.project_id}/{rest}"

    def call(
        self,
        method: str,
        path: str,
        body: bytes | str | Mapping[str, Any] = b"",
        *,
        query: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Signed by the SDK's own signer. `path` without a leading slash is below the project; `query` is as sent."""
        resource = path if path.startswith("/") else self.path(path)
        raw = body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()
        request = self.signed(method, resource, raw, query, headers or {})
        target = f"{resource}?{query}" if query else resource
        return self.send(method, target, request.header_params, raw)

    def signed(self, method: str, resource: str, body: bytes, query: str, headers: Mapping[str, str]) -> SdkRequest:
        pairs = [part.replace("+", "%20").partition("=")[::2] for part in query.split("&") if part]
        request = SdkRequest(
            method=method,
            schema="http",
            host=f"127.0.0.1:{self.site.port}",
            resource_path=resource,
            query_params=[(unquote(key), unquote(value)) for key, value in pairs],
            header_params={"Content-Type": "application/json", **headers},
            body=body,
        )
        return Signer(self.credentials).sign(request)

    def raw_call(self, method: str, target: str) -> Answer:
        """Signed by this project's own code, for targets that the SDK's signer would read otherwise."""
        path, _, query = target.partition("?")
        date = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
        request = SignedRequest(method=method.encode(), path=path.encode(), query=query.encode(), headers=[], body=b"")
        signed = signature(request, {b"x-sdk-date": date.encode()}, self.key.secret_key).decode()
        claim = f"SDK-HMAC-SHA256 Access={self.key.access_key}, SignedHeaders=x-sdk-date, Signature={signed}"
        return self.send(method, target, {"X-Sdk-Date": date, "Authorization": claim})

    def send(self, method: str, target: str, headers: Mapping[str, str], body: bytes = b"") -> Answer:
        """As it is."""
        connection = http.client.HTTPConnection("127.0.0.1", self.site.port, timeout=30)
        try:
            connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
            for name, value in {"Host": f"127.0.0.1:{self.site.port}", **headers}.items():
                connection.putheader(name, value)
            if body:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body or None)
            response = connection.getresponse()
            known = {name.lower(): value for name, value in response.getheaders()}
            answer = Answer(response.status, known, response.read())
        finally:
            connection.close()
        assert len(answer.headers["x-request-id"]) == 32
        return answer

    def create_body(self, **changed: Any) -> dict[str, Any]:
        """A body that is accepted. A field changed to `...` is left out."""
        wished = {
            "name": "cache",
            "engine": "Redis",
            "engine_version": "7.0",
            "capacity": 3,
            "spec_code": "redis.cluster.xu1.large.r1.s1.3",
            "az_codes": ["local"],
            "vpc_id": "vpc",
            "subnet_id": "subnet",
            "password": PASSWORD,
        }
        return {name: value for name, value in (wished | changed).items() if value is not ...}

    def instance(self, **changed: Any) -> str:
        """The id of an instance that is RUNNING and has no task."""
        answer = self.call("POST", "instances", self.create_body(**changed))
        assert answer.status == 200, answer.body
        instance_id = str(answer.json["instances"][0]["instance_id"])
        with self.site.database.write() as connection:
            for task in tasks.unfinished_of(connection, instance_id):
                tasks.remove(connection, task)
            instances.change(connection, instance_id, status="RUNNING")
        return instance_id

    def free_port(self) -> int:
        """One above the ranges that nodes take their ports from by themselves, and below the system's own."""
        site = self.site
        with site.database.read() as connection:
            taken = instances.taken_ports(connection)[site.settings.node_host]
        return next(free_ports(site.settings.node_host, (site.settings.bus_ports[1], 32767), taken))

    def stored(self, instance_id: str) -> Instance:
        with self.site.database.read() as connection:
            found = instances.get(connection, self.project_id, instance_id)
        assert found
        return found

    def add_task(self, instance_id: str, **changed: Any) -> Task:
        known: dict[str, Any] = {
            "id": uuid.uuid4().hex,
            "instance_id": instance_id,
            "project_id": self.project_id,
            "kind": "resize",
            "name": "EXTEND",
            "status": "EXECUTING",
            "params": {},
            "details": {},
            "user_id": self.key.user_id,
            "user_name": self.user_name,
            "created_at": 1_592_379_522_503,
        }
        task = Task(**(known | changed))
        with self.site.database.write() as connection:
            tasks.add(connection, task)
        return task
