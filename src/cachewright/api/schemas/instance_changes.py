"""Bodies and answers of UpdateInstance, BatchDeleteInstances and of the tags. Types follow the SDK's models."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec

from cachewright.api.schemas.instance_bodies import MOST_TAGS, Description, Name, OptionalText, Tag
from cachewright.model.instances import Instance

MOST_IDS = 50
"""How many instances one request may name."""


class UpdateBody(msgspec.Struct, frozen=True, kw_only=True):
    """What is left out stays. `rename_commands` and `instance_backup_policy` must be empty, `port` the one it has."""

    name: Name | None = None
    description: Description | None = None
    maintain_begin: str | None = None
    maintain_end: str | None = None
    security_group_id: OptionalText = None
    port: int | None = None
    rename_commands: dict[str, Any] = {}
    instance_backup_policy: dict[str, Any] = {}


class BatchDeleteQuery(msgspec.Struct, frozen=True):
    """Anything but `true` is false."""

    all_failure: str = ""


class BatchDeleteBody(msgspec.Struct, frozen=True):
    instances: list[str] = []


class StatusBody(msgspec.Struct, frozen=True):
    """`restart` and `soft_restart` are one: there is no machine beneath a node that could be restarted as well."""

    action: Literal["restart", "soft_restart"]
    instances: list[str] = []


class BatchResult(msgspec.Struct, frozen=True):
    result: Literal["success", "failed"]
    instance: str


class BatchResults(msgspec.Struct, frozen=True):
    results: list[BatchResult]


class TagsBody(msgspec.Struct, frozen=True):
    action: Literal["create", "delete"]
    tags: Annotated[list[Tag], msgspec.Meta(min_length=1, max_length=MOST_TAGS)]


class TagList(msgspec.Struct, frozen=True):
    tags: list[Tag]


class TagValues(msgspec.Struct, frozen=True):
    key: str
    values: list[str]


class TenantTags(msgspec.Struct, frozen=True):
    tags: list[TagValues]


def tags_of(instance: Instance) -> list[Tag]:
    return msgspec.convert(instance.attributes.get("tags", []), list[Tag])


def tenant_tags(instances: Sequence[Instance]) -> TenantTags:
    """Every key of the project with the values it has somewhere."""
    values: dict[str, set[str]] = {}
    for instance in instances:
        for tag in tags_of(instance):
            values.setdefault(tag.key, set()).add(tag.value)
    return TenantTags([TagValues(key, sorted(found)) for key, found in sorted(values.items())])


def retagged(instance: Instance, body: TagsBody) -> list[Mapping[str, str]]:
    """The instance's tags after the action: a known key gets the new value, an unknown one is not missed."""
    known = {tag.key: tag.value for tag in tags_of(instance)}
    for tag in body.tags:
        known.pop(tag.key, None)
        if body.action == "create":
            known[tag.key] = tag.value
    return [{"key": key, "value": value} for key, value in known.items()]
