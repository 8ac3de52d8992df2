"""Queries of users about themselves."""

from cachewright.model.identity import Project, User
from cachewright.store import users
from cachewright.store.database import Database


class UserQueries:
    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, user_id: str) -> User | None:
        with self._database.read() as connection:
            return users.get(connection, user_id)

    def projects(self, user_id: str) -> list[Project]:
        """Return the projects in which the user has a role."""
        with self._database.read() as connection:
            return users.projects_of(connection, user_id)
