"""Changing what is remembered of an instance: nothing that a node knows, so it is done at once."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from cachewright import errors
from cachewright.clock import now_ms
from cachewright.errors import ApiError
from cachewright.model.identity import Principal
from cachewright.model.instances import Instance
from cachewright.store import instances
from cachewright.store.database import Database


class AttributeChange(msgspec.Struct, frozen=True, kw_only=True):
    """:ivar name: None for the name it has.
    :ivar attributes: those that change; an empty value takes the attribute away.
    """

    name: str | None = None
    attributes: Mapping[str, Any] = {}


def change_attributes(
    database: Database, who: Principal, instance_id: str, decide: Callable[[Instance], AttributeChange]
) -> None:
    """`decide` sees the instance as it is when it is changed. ApiError DCS.3022, or DCS.4026 while it is deleted."""
    with database.write() as connection:
        instance = instances.get(connection, who.project_id, instance_id)
        if instance is None:
            raise ApiError(errors.INSTANCE_NOT_FOUND)
        if instance.status == "DELETING":
            raise ApiError(errors.INSTANCE_STATE_CONFLICT)
        wished = decide(instance)
        known = {**instance.attributes, **wished.attributes}
        instances.change(
            connection,
            instance_id,
            name=wished.name or instance.name,
            attributes={field: value for field, value in known.items() if value},
            updated_at=now_ms(),
        )
