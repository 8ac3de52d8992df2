"""Name and attributes of an instance. They exist only in the database, so they change without a task."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import sqlalchemy as sa

from cachewright import errors
from cachewright.clock import now_ms
from cachewright.errors import ApiError
from cachewright.model.identity import Principal
from cachewright.model.instances import Instance
from cachewright.services.lookup import instance_of
from cachewright.services.scheduled_tasks import reschedule
from cachewright.store import instances
from cachewright.store.database import Database


class AttributeChange(msgspec.Struct, frozen=True, kw_only=True):
    """A change of name and attributes.

    :ivar name: None to keep the name.
    :ivar attributes: changed attributes; an empty value removes the attribute.
    """

    name: str | None = None
    attributes: Mapping[str, Any] = {}


class InstanceAttributes:
    def __init__(self, database: Database) -> None:
        self._database = database

    def change(self, principal: Principal, instance_id: str, decide: Callable[[Instance], AttributeChange]) -> None:
        """Store the change that `decide` returns for the instance, in one transaction. Raises ApiError DCS.3022,
        DCS.4026 while the instance is being deleted, or an error of `decide`."""
        with self._database.write() as connection:
            instance = instance_of(connection, principal.project_id, instance_id)
            if instance.status == "DELETING":
                raise ApiError(errors.INSTANCE_STATE_CONFLICT)
            store(connection, instance, decide(instance))


def store(connection: sa.Connection, instance: Instance, change: AttributeChange) -> None:
    """Store a change. Tasks that wait for the maintenance window wait for the changed one."""
    changed = {**instance.attributes, **change.attributes}
    attributes = {field: value for field, value in changed.items() if value}
    now = now_ms()
    instances.change(connection, instance.id, name=change.name or instance.name, attributes=attributes, updated_at=now)
    if change.attributes.keys() & {"maintain_begin", "maintain_end"}:
        reschedule(connection, msgspec.structs.replace(instance, attributes=attributes), now)
