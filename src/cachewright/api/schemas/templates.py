"""Shapes of templates of parameters. Types follow the SDK's models, and terraform's provider for `params`."""

from typing import Annotated, Any, Literal

import msgspec

from cachewright.api.schemas import iso
from cachewright.api.schemas.configurations import ConfigItem, config_items
from cachewright.api.schemas.instance_bodies import Name
from cachewright.api.schemas.paging import Limit, Offset
from cachewright.model.templates import Template
from cachewright.services.templates import system_template_id
from cachewright.valkey.parameters import PARAMETERS, values

TemplateType = Literal["sys", "user"]

_Id = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
_Description = Annotated[str, msgspec.Meta(max_length=256)]
_Values = Annotated[dict[str, Annotated[str, msgspec.Meta(max_length=256)]], msgspec.Meta(max_length=len(PARAMETERS))]


class TemplatesQuery(msgspec.Struct, frozen=True, kw_only=True):
    """`name` and `description` are parts of the text."""

    type: TemplateType | None = None
    template_id: str | None = None
    name: str | None = None
    description: str | None = None
    engine: str | None = None
    engine_version: str | None = None
    cache_mode: str | None = None
    offset: Offset = 0
    limit: Limit = 10


class TemplateQuery(msgspec.Struct, frozen=True):
    """With another `type` than its own, a template is not found."""

    type: TemplateType | None = None


class CreateTemplateBody(msgspec.Struct, frozen=True, kw_only=True):
    """`template_id` is the template to copy, and `type` its type. Without it, `engine_version` and `cache_mode` name a
    template of the system."""

    template_id: _Id | None = None
    type: TemplateType | None = None
    name: Name
    engine: str = "Redis"
    engine_version: str | None = None
    cache_mode: str | None = None
    description: _Description = ""
    params: _Values = {}

    @property
    def source(self) -> str:
        """Id of the template to copy."""
        return self.template_id or system_template_id(self.engine_version or "", self.cache_mode or "")


class UpdateTemplateBody(msgspec.Struct, frozen=True, kw_only=True):
    """Omitted members do not change, nor do parameters that are not in `params`."""

    name: Name | None = None
    description: _Description | None = None
    params: _Values = {}


class CreatedTemplate(msgspec.Struct, frozen=True):
    id: str


class TemplateResult(msgspec.Struct, frozen=True):
    result: str = "success"


class ListedTemplate(msgspec.Struct, frozen=True, kw_only=True):
    """`created_at` is null for templates of the system."""

    template_id: str
    name: str
    type: TemplateType
    engine: str = "Redis"
    engine_version: str
    cache_mode: str
    product_type: str = "generic"
    storage_type: str = "DRAM"
    description: str
    created_at: str | None


class ShownTemplate(ListedTemplate, frozen=True, kw_only=True):
    params: list[ConfigItem]


class TemplateList(msgspec.Struct, frozen=True):
    template_num: int
    templates: list[ListedTemplate]


def matches(template: Template, query: TemplatesQuery) -> bool:
    if query.engine and query.engine.lower() != "redis":
        return False
    whole = (
        (type_of(template), query.type),
        (template.id, query.template_id),
        (template.engine_version, query.engine_version),
        (template.cache_mode, query.cache_mode),
    )
    if any(value not in {None, own} for own, value in whole):
        return False
    parts = ((template.name, query.name), (template.description, query.description))
    return all((part or "").lower() in text.lower() for text, part in parts)


def type_of(template: Template) -> TemplateType:
    return "sys" if template.project_id is None else "user"


def listed(template: Template) -> ListedTemplate:
    return ListedTemplate(**_shared(template))


def shown(template: Template) -> ShownTemplate:
    return ShownTemplate(params=config_items(values(template.parameters)), **_shared(template))


def _shared(template: Template) -> dict[str, Any]:
    return {
        "template_id": template.id,
        "name": template.name,
        "type": type_of(template),
        "engine_version": template.engine_version,
        "cache_mode": template.cache_mode,
        "description": template.description,
        "created_at": iso(template.created_at) if template.created_at else None,
    }
