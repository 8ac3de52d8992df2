"""Queries on incidents. The transaction that begins or ends one also stores its audit entry and webhook events."""

import sqlalchemy as sa

from cachewright.model.audit import AuditEntry
from cachewright.model.incidents import Incident
from cachewright.store import audit, webhook_events, webhooks
from cachewright.store.rows import from_row, to_row
from cachewright.store.tables import incidents

_SYSTEM = "system"
"""User name in audit entries that the server itself causes."""


def begin(connection: sa.Connection, incident: Incident) -> None:
    connection.execute(incidents.insert().values(to_row(incident)))
    _announce(connection, incident, incident.began_at, "cachewright:incident:begin")


def end(connection: sa.Connection, incident: Incident) -> None:
    """Store the end of an incident, `incident.ended_at`."""
    ended = incidents.update().where(incidents.c.id == incident.id)
    connection.execute(ended.values(ended_at=incident.ended_at))
    _announce(connection, incident, incident.ended_at or incident.began_at, "cachewright:incident:end")


def unended(connection: sa.Connection) -> list[Incident]:
    """Return the open incidents of all projects, oldest first."""
    query = incidents.select().where(incidents.c.ended_at.is_(None)).order_by(incidents.c.began_at, incidents.c.id)
    return [from_row(Incident, row._mapping) for row in connection.execute(query)]


def open_of(connection: sa.Connection, instance_id: str) -> list[Incident]:
    """Return the open incidents of an instance, oldest first."""
    query = incidents.select().where(incidents.c.ended_at.is_(None), incidents.c.instance_id == instance_id)
    rows = connection.execute(query.order_by(incidents.c.began_at, incidents.c.id))
    return [from_row(Incident, row._mapping) for row in rows]


def forget(connection: sa.Connection, before: int) -> None:
    """Delete incidents that ended before that time."""
    connection.execute(incidents.delete().where(incidents.c.ended_at < before))


def _announce(connection: sa.Connection, incident: Incident, at: int, action: str) -> None:
    entry = AuditEntry(
        at=at,
        request_id=incident.id,
        project_id=incident.project_id,
        user_id="",
        user_name=_SYSTEM,
        credential=incident.kind,
        source="",
        action=action,
        method="",
        path=f"/v2/{incident.project_id}/instances/{incident.instance_id}",
        error_code=incident.error_code,
    )
    audit.add(connection, entry)
    webhooks.publish(connection, incident.project_id, webhook_events.of_incident(incident), at)
