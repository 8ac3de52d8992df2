"""Queries on users, projects, and the roles of users in projects."""

import sqlalchemy as sa

from cachewright.model.identity import Project, RoleName, User
from cachewright.store.rows import from_row, to_row
from cachewright.store.tables import access_keys, grants, projects, tokens, users


def add(connection: sa.Connection, user: User) -> None:
    connection.execute(users.insert().values(to_row(user)))


def get(connection: sa.Connection, user_id: str) -> User | None:
    row = connection.execute(users.select().where(users.c.id == user_id)).one_or_none()
    return from_row(User, row._mapping) if row else None


def named(connection: sa.Connection, name: str) -> User | None:
    row = connection.execute(users.select().where(users.c.name == name)).one_or_none()
    return from_row(User, row._mapping) if row else None


def every(connection: sa.Connection) -> list[User]:
    rows = connection.execute(users.select().order_by(users.c.created_at, users.c.name))
    return [from_row(User, row._mapping) for row in rows]


def enable(connection: sa.Connection, user_id: str, enabled: bool) -> None:
    connection.execute(users.update().where(users.c.id == user_id).values(enabled=enabled))


def set_password(connection: sa.Connection, user_id: str, password: str | None) -> None:
    """Store the hash of a password."""
    connection.execute(users.update().where(users.c.id == user_id).values(password=password))


def remove(connection: sa.Connection, user_id: str) -> None:
    """Delete a user with keys, tokens and roles. Tasks and audit entries of the user stay."""
    for table in (access_keys, tokens, grants):
        connection.execute(table.delete().where(table.c.user_id == user_id))
    connection.execute(users.delete().where(users.c.id == user_id))


def add_project(connection: sa.Connection, project: Project) -> None:
    connection.execute(projects.insert().values(to_row(project)))


def project(connection: sa.Connection, project_id: str) -> Project | None:
    row = connection.execute(projects.select().where(projects.c.id == project_id)).one_or_none()
    return from_row(Project, row._mapping) if row else None


def project_named(connection: sa.Connection, name: str) -> Project | None:
    row = connection.execute(projects.select().where(projects.c.name == name)).one_or_none()
    return from_row(Project, row._mapping) if row else None


def every_project(connection: sa.Connection) -> list[Project]:
    rows = connection.execute(projects.select().order_by(projects.c.created_at, projects.c.name))
    return [from_row(Project, row._mapping) for row in rows]


def projects_of(connection: sa.Connection, user_id: str) -> list[Project]:
    """Return the projects where the user has a role, oldest first."""
    query = projects.select().join(grants, grants.c.project_id == projects.c.id).where(grants.c.user_id == user_id)
    rows = connection.execute(query.order_by(projects.c.created_at, projects.c.name))
    return [from_row(Project, row._mapping) for row in rows]


def role(connection: sa.Connection, user_id: str, project_id: str) -> RoleName | None:
    query = sa.select(grants.c.role).where(grants.c.user_id == user_id, grants.c.project_id == project_id)
    return connection.execute(query).scalar_one_or_none()


def roles(connection: sa.Connection) -> list[tuple[str, str, RoleName]]:
    """Return every (user id, project id, role)."""
    return [(row.user_id, row.project_id, row.role) for row in connection.execute(grants.select())]


def grant(connection: sa.Connection, user_id: str, project_id: str, role: RoleName | None) -> None:
    """Set the user's only role in the project; None removes it."""
    connection.execute(grants.delete().where(grants.c.user_id == user_id, grants.c.project_id == project_id))
    if role:
        connection.execute(grants.insert().values(user_id=user_id, project_id=project_id, role=role))
