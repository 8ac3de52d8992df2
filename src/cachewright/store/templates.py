"""Queries on templates of parameters. Those of the system are not stored."""

from typing import Any

import sqlalchemy as sa

from cachewright.model.templates import Template
from cachewright.store.rows import columns, from_row, to_row
from cachewright.store.tables import templates


def add(connection: sa.Connection, template: Template) -> None:
    connection.execute(templates.insert().values(to_row(template)))


def get(connection: sa.Connection, project_id: str, template_id: str) -> Template | None:
    query = templates.select().where(templates.c.id == template_id, templates.c.project_id == project_id)
    row = connection.execute(query).one_or_none()
    return from_row(Template, row._mapping) if row else None


def of_project(connection: sa.Connection, project_id: str) -> list[Template]:
    """Return the templates of a project, newest first."""
    query = templates.select().where(templates.c.project_id == project_id)
    newest = query.order_by(templates.c.created_at.desc(), templates.c.id)
    return [from_row(Template, row._mapping) for row in connection.execute(newest)]


def change(connection: sa.Connection, template_id: str, **values: Any) -> None:
    connection.execute(templates.update().where(templates.c.id == template_id).values(columns(**values)))


def remove(connection: sa.Connection, template_id: str) -> None:
    connection.execute(templates.delete().where(templates.c.id == template_id))
