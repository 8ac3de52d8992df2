"""Changing what is remembered of an instance: nothing that a node knows, so it is done at once."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from cachewright.errors import Refusal
from cachewright.store import instances
from cachewright.store.database import Database
from cachewright.store.records import Instance, Principal
from cachewright.tasks.clock import now_ms


class Amendment(msgspec.Struct, frozen=True, kw_only=True):
    """:ivar name: None for the name it has.
    :ivar attributes: those that change; an empty value takes the attribute away.
    """

    name: str | None = None
    attributes: Mapping[str, Any] = {}


def amend(database: Database, who: Principal, instance_id: str, decide: Callable[[Instance], Amendment]) -> None:
    """`decide` sees the instance as it is when it is changed. Refusal DCS.3022, or DCS.4026 while it is deleted."""
    with database.write() as connection:
        instance = instances.get(connection, who.project_id, instance_id)
        if instance is None:
            raise Refusal("DCS.3022")
        if instance.status == "DELETING":
            raise Refusal("DCS.4026")
        wished = decide(instance)
        known = {**instance.attributes, **wished.attributes}
        instances.change(
            connection,
            instance_id,
            name=wished.name or instance.name,
            attributes={field: value for field, value in known.items() if value},
            updated_at=now_ms(),
        )
