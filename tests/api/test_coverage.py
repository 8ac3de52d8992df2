"""The catalogue against the cloud's client, the page against the catalogue, the server against both."""

import ast
import inspect
import textwrap
from pathlib import Path

import pytest
from huaweicloudsdkdcs.v2 import DcsClient
from tenants import Tenant

from cachewright.api.openapi.catalog import OPERATIONS, Operation
from cachewright.api.openapi.coverage import render
from cachewright.api.openapi.reasons import REASONS
from cachewright.api.routes.not_served import described_path
from cachewright.api.served import SERVED

ROOT = Path(__file__).parents[2]
THERE = {(method, described_path(handler)) for handler in SERVED for method in handler.http_methods}
NOT_SERVED = [operation for place, operation in OPERATIONS.items() if place not in THERE]
SOMETHING = "00000000-0000-4000-8000-000000000001"


def offered_by_the_client() -> set[Operation]:
    """Every operation's description, as the client's own code has it."""
    found = set()
    for name, member in inspect.getmembers(DcsClient, inspect.ismethod):
        if not name.endswith("_http_info"):
            continue
        tree = ast.parse(textwrap.dedent(inspect.getsource(member)))
        (described,) = [
            node
            for node in ast.walk(tree)
            if isinstance(node, ast.Dict) and any(getattr(key, "value", "") == "resource_path" for key in node.keys)
        ]
        parts = {
            key.value: value.value
            for key, value in zip(described.keys, described.values, strict=True)
            if isinstance(key, ast.Constant) and isinstance(value, ast.Constant)
        }
        operation = str(parts["response_type"]).removesuffix("Response")
        found.add(Operation(operation, str(parts["method"]), str(parts["resource_path"])))
    return found


def filled(path: str, project_id: str) -> str:
    path = path.replace("{project_id}", project_id)
    while "{" in path:
        path = path[: path.index("{")] + SOMETHING + path[path.index("}") + 1 :]
    return path


def test_the_catalogue_is_the_clients() -> None:
    assert set(OPERATIONS.values()) == offered_by_the_client()
    assert len(OPERATIONS) == 137


def test_the_page_is_the_catalogue() -> None:
    """`python -m cachewright.api.openapi.coverage > docs/coverage.md` makes it."""
    assert (ROOT / "docs" / "coverage.md").read_text() == render()


def test_exactly_what_is_not_served_has_a_reason() -> None:
    assert set(REASONS) == {operation.name for operation in NOT_SERVED}


@pytest.mark.parametrize("operation", NOT_SERVED, ids=lambda operation: operation.name)
def test_what_is_not_served_is_refused_by_its_name(tenant: Tenant, operation: Operation) -> None:
    answer = tenant.call(operation.method, filled(operation.path, tenant.project_id))
    assert answer.refusal == (404, "DCS.4959")
    assert f" {operation.name} " in answer.json["error_msg"]


@pytest.mark.parametrize(("method", "path"), sorted(THERE), ids=str)
def test_what_is_served_is_not(tenant: Tenant, method: str, path: str) -> None:
    answer = tenant.call(method, filled(path, tenant.project_id))
    if path.startswith("/v3/"):
        assert answer.status not in {404, 405}
    else:
        assert answer.status == 200 or answer.code not in {"DCS.4959", "DCS.4001", "DCS.5001"}


@pytest.mark.parametrize(("method", "path"), [("POST", "/v2/%s/copies"), ("GET", "/v2/%s/instances/x/backup")])
def test_what_is_no_operation_is_no_url(tenant: Tenant, method: str, path: str) -> None:
    assert tenant.call(method, path % tenant.project_id).refusal == (404, "DCS.4001")


def test_a_method_that_no_operation_has_is_not_allowed(tenant: Tenant) -> None:
    answer = tenant.call("PUT", f"instances/{SOMETHING}/backups")
    assert answer.refusal == (405, "DCS.5001")
    assert set(answer.headers["allow"].split(", ")) == {"GET", "POST"}


def test_strangers_are_not_told_what_is_served(tenant: Tenant) -> None:
    operation = NOT_SERVED[0]
    assert tenant.send(operation.method, filled(operation.path, tenant.project_id), {}).refusal == (401, "DCS.1003")
    assert tenant.call(operation.method, filled(operation.path, "a" * 32)).refusal == (401, "DCS.1004")
