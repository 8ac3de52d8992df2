"""Bodies and responses of UpdateInstance, BatchDeleteInstances, restarts and tags. Types follow the SDK's models."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec

from cachewright.api.schemas.backup_policies import PolicyBody
from cachewright.api.schemas.instance_bodies import MOST_TAGS, Description, Name, OptionalText, Tag
from cachewright.model.instances import Instance

MOST_IDS = 50
"""Maximum number of instances in one request."""


class UpdateBody(msgspec.Struct, frozen=True, kw_only=True):
    """Omitted fields do not change. `rename_commands` replaces the disabled commands, unless it is empty: an empty name
    disables a command, its own name does not. `port` must be the present port."""

    name: Name | None = None
    description: Description | None = None
    maintain_begin: str | None = None
    maintain_end: str | None = None
    security_group_id: OptionalText = None
    port: int | None = None
    rename_commands: dict[str, Any] = {}
    instance_backup_policy: PolicyBody | None = None


class BatchDeleteQuery(msgspec.Struct, frozen=True):
    """All values except `true` mean false."""

    all_failure: str = ""


class BatchDeleteBody(msgspec.Struct, frozen=True):
    instances: list[str] = []


class StatusBody(msgspec.Struct, frozen=True):
    """`restart` and `soft_restart` do the same: nodes are processes, so no machine can be restarted. `flush` deletes
    all keys."""

    action: Literal["restart", "soft_restart", "flush"]
    instances: list[str] = []


class BatchResult(msgspec.Struct, frozen=True):
    """`error_code` and `error_msg` are an extension: why the instance was refused."""

    result: Literal["success", "failed"]
    instance: str
    error_code: str | msgspec.UnsetType = msgspec.UNSET
    error_msg: str | msgspec.UnsetType = msgspec.UNSET


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
    """Return every tag key of the project with all its values."""
    values: dict[str, set[str]] = {}
    for instance in instances:
        for tag in tags_of(instance):
            values.setdefault(tag.key, set()).add(tag.value)
    return TenantTags([TagValues(key, sorted(of_key)) for key, of_key in sorted(values.items())])


def retagged(instance: Instance, body: TagsBody) -> list[Mapping[str, str]]:
    """Return the instance's tags after the action. Existing keys get the new value; missing keys can be deleted."""
    tags = {tag.key: tag.value for tag in tags_of(instance)}
    for tag in body.tags:
        tags.pop(tag.key, None)
        if body.action == "create":
            tags[tag.key] = tag.value
    return [{"key": key, "value": value} for key, value in tags.items()]
