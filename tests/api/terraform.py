"""Calls as terraform's provider makes them: signed without the host, bodies that end with a newline.

The fields and their JSON types are those that its resources and data sources read.
"""

import http.client
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from cachewright.signature import SignedRequest, signature

USER_AGENT = "HashiCorp Terraform/1.11.4 (+https://www.terraform.io) terraform-provider-huaweicloud/1.80.0"
NULL = type(None)

INSTANCE: Mapping[str, tuple[type, ...]] = {
    "status": (str,),
    "task": (str, NULL),
    "name": (str,),
    "engine": (str,),
    "engine_version": (str,),
    "capacity": (int,),
    "capacity_minor": (str,),
    "spec_code": (str,),
    "vpc_id": (str,),
    "vpc_name": (str,),
    "subnet_id": (str,),
    "subnet_name": (str,),
    "security_group_id": (str, NULL),
    "az_codes": (list,),
    "available_zones": (list,),
    "ip": (str,),
    "port": (int,),
    "maintain_begin": (str,),
    "maintain_end": (str,),
    "description": (str,),
    "charging_mode": (int,),
    "enterprise_project_id": (str, NULL),
    "tags": (list,),
    "created_at": (str,),
    "launched_at": (str, NULL),
    "max_memory": (int,),
    "used_memory": (int,),
    "domain_name": (str,),
    "readonly_domain_name": (str,),
    "order_id": (str, NULL),
    "bandwidth_info": (dict,),
    "cache_mode": (str,),
    "cpu_type": (str,),
    "replica_count": (int,),
    "sharding_count": (int,),
    "product_type": (str,),
    "transparent_client_ip_enable": (bool,),
    "access_user": (str,),
    "enable_ssl": (bool,),
    "instance_backup_policy": (dict, NULL),
}
FLAVOR: Mapping[str, tuple[type, ...]] = {
    "spec_code": (str,),
    "cache_mode": (str,),
    "engine": (str,),
    "engine_version": (str,),
    "cpu_type": (str,),
    "capacity": (list,),
    "tenant_ip_count": (int,),
    "replica_count": (int,),
    "billing_mode": (list,),
    "attrs": (list,),
    "flavors_available_zones": (list,),
}
NODE: Mapping[str, tuple[type, ...]] = {
    "replication_role": (str,),
    "node_id": (str,),
    "replication_ip": (str,),
    "is_replication": (bool,),
    "status": (str,),
    "az_code": (str,),
}
TASK: Mapping[str, tuple[type, ...]] = {
    "id": (str,),
    "name": (str,),
    "details": (dict,),
    "user_name": (str,),
    "user_id": (str,),
    "params": (str,),
    "status": (str,),
    "created_at": (str,),
    "updated_at": (str, NULL),
    "error_code": (str, NULL),
    "enable_show": (bool,),
    "job_id": (str,),
}


def require(value: Mapping[str, Any], fields: Mapping[str, tuple[type, ...]]) -> None:
    """Each field is there, and of a JSON type that the provider reads."""
    assert {name for name in fields if name not in value} == set()
    assert {name: value[name] for name, types in fields.items() if type(value[name]) not in types} == {}


class Terraform:
    def __init__(self, credentials: Mapping[str, str]) -> None:
        self._key = credentials["access_key"]
        self._secret = credentials["secret_key"]
        self._project_id = credentials["project_id"]
        self._address = urlsplit(credentials["endpoint"]).netloc

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> tuple[int, Any]:
        """Status and JSON; `path` without a leading slash is below the project."""
        target = path if path.startswith("/") else f"/v2/{self._project_id}/{path}"
        raw = b"" if body is None else json.dumps(body).encode() + b"\n"
        named = {"accept": "application/json", "user-agent": USER_AGENT}
        if raw:
            named["content-type"] = "application/json"
        named["x-sdk-date"] = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
        signed = {name.encode(): value.encode() for name, value in sorted(named.items())}
        bare, _, query = target.partition("?")
        request = SignedRequest(
            method=method.encode(), path=bare.encode(), query=query.encode(), headers=list(signed.items()), body=raw
        )
        claim = (
            f"SDK-HMAC-SHA256 Access={self._key}, SignedHeaders={';'.join(sorted(named))}, "
            f"Signature={signature(request, signed, self._secret).decode()}"
        )
        unsigned = {"X-Project-Id": self._project_id, "Accept-Encoding": "gzip", "Authorization": claim}
        connection = http.client.HTTPConnection(self._address, timeout=30)
        try:
            connection.request(method, target, raw or None, named | unsigned)
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        assert not text or answer.getheader("content-type") == "application/json"
        return answer.status, json.loads(text) if text else None

    def get(self, path: str) -> Any:
        status, answer = self.call("GET", path)
        assert status == 200, (path, answer)
        return answer

    def ready(self, instance_id: str) -> bool:
        """What it waits for, here without the ten seconds between two looks."""
        shown = self.get(f"instances/{instance_id}")
        assert shown["status"] not in {"CREATEFAILED", "ERROR", "FROZEN"}
        return shown["status"] == "RUNNING" and shown["task"] is None

    def read(self, instance_id: str) -> Mapping[str, Any]:
        """What a plan, a refresh and every change end with; the instance as it then is in the state file."""
        shown: dict[str, Any] = self.get(f"instances/{instance_id}")
        require(shown, INSTANCE)
        for group in self.get(f"instance/{instance_id}/groups")["group_list"]:
            for node in group["replication_list"]:
                require(node, NODE)
        whitelist = self.get(f"instance/{instance_id}/whitelist")
        require(whitelist, {"enable_whitelist": (bool,), "whitelist": (list,)})
        for kind in ("bigkey", "hotkey"):
            scan = self.get(f"instances/{instance_id}/{kind}/autoscan")
            assert scan == {
                "instance_id": instance_id,
                "enable_auto_scan": False,
                "schedule_at": [],
                "updated_at": None,
            }
        assert self.get(f"instances/{instance_id}/scan-expire-keys/autoscan-config")["enable_auto_scan"] is False
        assert self.get(f"instances/{instance_id}/autoscaling-policy/bandwidth") == {}
        configs = self.get(f"instances/{instance_id}/configs")["redis_config"]
        assert configs
        for item in configs:
            require(item, {"param_id": (str,), "param_name": (str,), "param_value": (str,)})
        return shown

    def background_tasks(self, instance_id: str) -> Iterator[Mapping[str, Any]]:
        """Page after page until one is empty."""
        offset = 0
        while page := self.get(f"instances/{instance_id}/tasks?limit=10&offset={offset}")["tasks"]:
            yield from page
            offset += 10

    def center_tasks(self) -> Iterator[Mapping[str, Any]]:
        """The first page without limits, then page after page until one is empty."""
        offset = 0
        query = ""
        while page := self.get(f"tasks{query}")["tasks"]:
            yield from page
            offset += len(page)
            query = f"?limit=10&offset={offset}"
