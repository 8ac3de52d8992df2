"""The description of the API, its page, and that nothing else is open to everybody."""

import importlib
import json
import pkgutil
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import msgspec
import pytest
from litestar.handlers import HTTPRouteHandler
from tenants import Tenant

from cachewright.api import requests, schemas
from cachewright.api.openapi.document import describe
from cachewright.api.openapi.examples import ANSWERS, BODIES
from cachewright.api.routes.not_served import described_path
from cachewright.api.routes.parameters import Query, shapes_read
from cachewright.api.served import SERVED

DOCUMENT: dict[str, Any] = json.loads(msgspec.json.encode(describe(SERVED)))
OPERATIONS: dict[str, dict[str, Any]] = {
    operation["operationId"]: operation for methods in DOCUMENT["paths"].values() for operation in methods.values()
}


def members(value: Any) -> Iterator[tuple[str, Any]]:
    """Every member of every object, however deep."""
    if isinstance(value, dict):
        yield from value.items()
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from members(item)


def schema_of(content: dict[str, Any]) -> dict[str, Any]:
    """By itself: with the components that it refers to."""
    return {**content["application/json"]["schema"], "components": DOCUMENT["components"]}


def test_it_is_served_to_everybody(tenant: Tenant) -> None:
    answer = tenant.send("GET", "/openapi.json", {})
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json == DOCUMENT
    assert tenant.send("GET", "/openapi.json?v=1", {}).json == DOCUMENT
    assert tenant.call("GET", "/openapi.json").json == DOCUMENT


@pytest.mark.parametrize("path", ["/docs/", "/docs%2F", "/doc%73", "//docs", "/docs/x", "/DOCS", "/openapi.json/"])
def test_no_other_path_is_open(tenant: Tenant, path: str) -> None:
    assert tenant.send("GET", path, {}).refusal == (401, "DCS.1003")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"])
def test_no_other_method_is_open(tenant: Tenant, method: str) -> None:
    assert tenant.send(method, "/openapi.json", {}).refusal == (401, "DCS.1003")
    assert tenant.raw_call(method, "/openapi.json").refusal == (405, "DCS.5001")


def test_every_route_is_described_and_nothing_else() -> None:
    described = {(method.upper(), path) for path, methods in DOCUMENT["paths"].items() for method in methods}
    assert described == {(method, described_path(handler)) for handler in SERVED for method in handler.http_methods}
    assert len(OPERATIONS) == len(SERVED)
    for operation in OPERATIONS.values():
        assert operation["description"]


def test_every_reference_leads_somewhere() -> None:
    for name, value in members(DOCUMENT):
        if name == "$ref":
            place = DOCUMENT
            for part in value.removeprefix("#/").split("/"):
                place = place[part]


def test_every_shape_has_a_name_of_its_own() -> None:
    """Shapes become components by their names, so one would replace another."""
    found = pkgutil.walk_packages(schemas.__path__, "cachewright.api.schemas.")
    modules = [importlib.import_module(module.name) for module in found]
    values = [value for module in modules for value in vars(module).values() if isinstance(value, type)]
    shapes = {shape for shape in values if shape.__module__.startswith("cachewright.api.schemas.")}
    repeated = [name for name, count in Counter(shape.__name__ for shape in shapes).items() if count > 1]
    assert shapes
    assert not repeated


def test_every_schema_is_one() -> None:
    for schema in DOCUMENT["components"]["schemas"].values():
        jsonschema_rs.meta.validate({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema})
    for name, value in members(DOCUMENT):
        if name == "pattern":
            assert re.compile(value)
            assert "\\A" not in value


@pytest.mark.parametrize("handler", SERVED, ids=lambda handler: handler.handler_name)
def test_every_body_has_an_example_that_is_read(handler: HTTPRouteHandler) -> None:
    (method,) = handler.http_methods
    operation = DOCUMENT["paths"][described_path(handler)][method.lower()]
    bodies = [shape for kind, shape in shapes_read(handler.fn).values() if kind is not Query]
    assert ("requestBody" in operation) == bool(bodies)
    for shape in bodies:
        example = operation["requestBody"]["content"]["application/json"]["example"]
        assert requests.body(json.dumps(example).encode(), shape)
        jsonschema_rs.validate(schema_of(operation["requestBody"]["content"]), example)


@pytest.mark.parametrize("name", ANSWERS)
def test_examples_of_answers_are_of_their_shape(name: str) -> None:
    content = OPERATIONS[name]["responses"]["200"]["content"]
    jsonschema_rs.validate(schema_of(content), content["application/json"]["example"])


def test_there_are_no_examples_of_what_is_not_there() -> None:
    assert set(BODIES) | set(ANSWERS) <= set(OPERATIONS)


def test_the_error_body_is_described(tenant: Tenant) -> None:
    content = DOCUMENT["components"]["responses"]["Error"]["content"]
    answer = tenant.call("GET", "instances/x")
    for body in (answer.json, content["application/json"]["example"]):
        jsonschema_rs.validate(schema_of(content), body)


def test_the_page_shows_all_of_it_and_needs_nothing_from_elsewhere(tenant: Tenant) -> None:
    answer = tenant.send("GET", "/docs", {})
    assert (answer.status, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    policy = answer.headers["content-security-policy"].split("; ")
    assert {"default-src 'none'", "style-src 'unsafe-inline'", "frame-ancestors 'none'"} <= set(policy)
    assert not any(part.startswith("script-src") for part in policy)
    page = answer.body.decode()
    anchors = set(re.findall(r'id="([^"]+)"', page))
    assert anchors == set(OPERATIONS) | set(DOCUMENT["components"]["schemas"])
    links = re.findall(r'(?:href|src)="([^"]+)"', page)
    assert {link for link in links if not link.startswith("#")} == {"openapi.json"}
    assert {link[1:] for link in links if link.startswith("#")} <= anchors
    assert "<script" not in page
    assert "<code>DCS.4959</code>" in page
    assert "Access=&lt;access key&gt;" in page
    assert "`" not in page
