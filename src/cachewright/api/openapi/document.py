"""Description of the API as OpenAPI 3.1, generated from the routes.

The signature of a route contains the shapes of its query, its body and its response. Requests are parsed by the first
two, and the type checker compares the third with the returned value. msgspec generates the schemas. Only texts and
examples are written by hand.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, get_args, get_type_hints

import msgspec
from litestar.handlers import HTTPRouteHandler

import cachewright
from cachewright.api.auth.permissions import OPTION, Action
from cachewright.api.openapi.catalog import FAMILIES, OPERATIONS
from cachewright.api.openapi.examples import ANSWERS, BODIES, IAM_REFUSAL, REFUSAL
from cachewright.api.responses import ErrorBody, IamErrorBody
from cachewright.api.routes.not_served import described_path
from cachewright.api.routes.parameters import OptionalBody, Query, shapes_read

Schema = dict[str, Any]

_REFERENCE = "#/components/schemas/{name}"
_EXTENSIONS = "Extensions of this project"
_IDENTITY = "Identity (IAM v3)"
_PATH_SCHEMAS: Mapping[str, Schema] = {
    "project_id": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
    "instance_id": {"type": "string", "format": "uuid"},
    "group_id": {"type": "string", "format": "uuid"},
    "task_id": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
    "node_id": {"type": "string", "pattern": "^[0-9a-f]{40}$"},
    "webhook_id": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
    "account_id": {"type": "string", "format": "uuid"},
    "bigkey_id": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
    "hotkey_id": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
    "backup_id": {"type": "string", "format": "uuid"},
    "job_id": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
    "template_id": {"type": "string", "minLength": 1},
    "history_id": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
}
_ABOUT = """\
Instances and background tasks of the Huawei Cloud DCS v2 API. Operations of the cloud that are not described here
answer 404 `DCS.4959`. Members of a body or a query that are not described are ignored.
"""
_SIGNATURE = """\
`SDK-HMAC-SHA256 Access=<access key>, SignedHeaders=<names>, Signature=<hex>` beside a header `X-Sdk-Date`, as the
cloud's clients make it.
"""
_X_AUTH = "A token of `POST /v3/auth/tokens`. It takes precedence over a signature."


def describe(handlers: Sequence[HTTPRouteHandler]) -> Schema:
    """Return the document as JSON-compatible values."""
    shapes = _Shapes()
    paths: dict[str, Schema] = {}
    for handler in handlers:
        (method,) = handler.http_methods
        paths.setdefault(described_path(handler), {})[method.lower()] = _operation(handler, shapes)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Cachewright",
            "version": cachewright.__version__,
            "description": _ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"signature": []}, {"token": []}],
        "tags": [{"name": name} for name in (*FAMILIES, _IDENTITY, _EXTENSIONS) if name in _tags_used(paths)],
        "paths": paths,
        "components": {
            "schemas": shapes.components(),
            "responses": {
                "Error": {
                    "description": "Refused or failed; `error_code` says why, and what to do is in docs/errors.md.",
                    "content": _json(_REFERENCE.format(name=ErrorBody.__name__), REFUSAL),
                },
                "IamError": {
                    "description": "Refused or failed.",
                    "content": _json(_REFERENCE.format(name=IamErrorBody.__name__), IAM_REFUSAL),
                },
            },
            "securitySchemes": {
                "signature": {"type": "apiKey", "in": "header", "name": "Authorization", "description": _SIGNATURE},
                "token": {"type": "apiKey", "in": "header", "name": "X-Auth-Token", "description": _X_AUTH},
            },
        },
    }


class _Shapes:
    """Schemas of all described shapes, separately for requests and responses."""

    def __init__(self) -> None:
        self._read: dict[str, Schema] = {}
        self._written: dict[str, Schema] = _components(ErrorBody) | _components(IamErrorBody)

    def read(self, shape: Any) -> Schema:
        (schema,), components = msgspec.json.schema_components([shape], ref_template=_REFERENCE)
        self._read |= {name: _nullable(component) for name, component in components.items()}
        return schema

    def written(self, shape: Any) -> Schema:
        (schema,), components = msgspec.json.schema_components([shape], ref_template=_REFERENCE)
        self._written |= components
        return schema

    def components(self) -> dict[str, Schema]:
        """Return all schemas. In responses, members with a default are present too, so they are required."""
        complete = {name: {**schema, "required": _always_there(schema)} for name, schema in self._written.items()}
        plain: dict[str, Schema] = _plain({**complete, **self._read})
        return dict(sorted(plain.items()))


def _always_there(schema: Schema) -> list[str]:
    demanded = schema.get("required", [])
    return [name for name, member in schema.get("properties", {}).items() if name in demanded or "default" in member]


def _operation(handler: HTTPRouteHandler, shapes: _Shapes) -> Schema:
    route: Callable[..., Any] = getattr(handler.fn, "__wrapped__", handler.fn)
    (method,) = handler.http_methods
    path = described_path(handler)
    cloud_operation = OPERATIONS.get((method, path))
    name = cloud_operation.name if cloud_operation else "".join(word.capitalize() for word in route.__name__.split("_"))
    of_iam = path.startswith("/v3/")
    unlisted = _IDENTITY if of_iam else _EXTENSIONS
    family = next((title for title, listed in FAMILIES.items() if cloud_operation in listed), unlisted)
    action: Action | None = handler.opt[OPTION]
    described: Schema = {
        "operationId": name,
        "summary": name,
        "description": "\n\n".join(filter(None, (_text(route.__doc__), _permission(action)))),
        "tags": [family],
        "parameters": [*_path_parameters(path)],
    }
    for kind, shape in shapes_read(route).values():
        if kind is Query:
            described["parameters"] += _query_parameters(shape)
        else:
            content = _json(shapes.read(shape)["$ref"], BODIES.get(name))
            described["requestBody"] = {"content": content, "required": kind is not OptionalBody}
    if action is None:
        described["security"] = []
    refusal = {"$ref": f"#/components/responses/{'IamError' if of_iam else 'Error'}"}
    described["responses"] = {
        str(handler.status_code): _success(get_type_hints(route)["return"], name, shapes),
        "4XX": refusal,
        "5XX": refusal,
    }
    return described


def _permission(action: Action | None) -> str:
    if action is None:
        return "Needs no credentials."
    return f"Action `{action.name}`: role `{action.least}`." if action.least else f"Action `{action.name}`: any role."


def _success(annotation: Any, name: str, shapes: _Shapes) -> Schema:
    (shape,) = get_args(annotation)
    if shape is type(None):
        return {"description": "Done; the answer has no body."}
    if shape is str:
        return {"description": "Done.", "content": {"text/plain": {"schema": {"type": "string"}}}}
    schema = shapes.written(shape)
    return {"description": _text(shape.__doc__) or "Done.", "content": _json(schema, ANSWERS.get(name))}


def _json(schema: Schema | str, example: Any) -> Schema:
    content: Schema = {"schema": {"$ref": schema} if isinstance(schema, str) else schema}
    if example is not None:
        content["example"] = example
    return {"application/json": content}


def _path_parameters(path: str) -> Iterator[Schema]:
    for name in re.findall(r"{(\w+)}", path):
        yield {"name": name, "in": "path", "required": True, "schema": _PATH_SCHEMAS[name]}


def _query_parameters(shape: type[msgspec.Struct]) -> Iterator[Schema]:
    """Yield the parameters of a query. They are never null: a missing or empty parameter has its default."""
    schema = _components(shape)[shape.__name__]
    for name, member in _plain(schema["properties"]).items():
        default = member.pop("default", None)
        (kind,) = [choice for choice in member.get("anyOf", [member]) if choice != {"type": "null"}]
        if default not in {None, ""}:
            kind["default"] = default
        required = name in schema.get("required", [])
        yield {"name": name, "in": "query", "required": required, "allowEmptyValue": True, "schema": kind}


def _nullable(schema: Schema) -> Schema:
    """Allow null for optional members of a body, where null is the same as omitting the member."""
    members = dict(schema.get("properties", {}))
    for name in members.keys() - set(schema.get("required", [])):
        choices = members[name].get("anyOf", [members[name]])
        if {"type": "null"} not in choices:
            default = {"default": members[name].pop("default")} if "default" in members[name] else {}
            members[name] = {"anyOf": [*choices, {"type": "null"}], **default}
    return {**schema, "properties": members}


def _components(shape: type[msgspec.Struct]) -> dict[str, Schema]:
    _, components = msgspec.json.schema_components([shape], ref_template=_REFERENCE)
    return components


def _plain(schema: Any) -> Any:
    r"""Convert patterns to JSON Schema, which has `^` and `$` for Python's `\A` and `\Z`, and join lines of texts."""
    if isinstance(schema, dict):
        return {name: _plain_member(name, _plain(member)) for name, member in schema.items()}
    return [_plain(item) for item in schema] if isinstance(schema, list | tuple) else schema


def _plain_member(name: str, member: Any) -> Any:
    if name == "pattern" and isinstance(member, str):
        return member.replace(r"\A", "^").replace(r"\Z", "$")
    return _text(member) if name == "description" and isinstance(member, str) else member


def _text(docstring: str | None) -> str:
    paragraphs = (docstring or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _tags_used(paths: Mapping[str, Schema]) -> set[str]:
    return {tag for methods in paths.values() for operation in methods.values() for tag in operation["tags"]}
