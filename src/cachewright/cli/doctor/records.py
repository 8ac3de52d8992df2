"""What checks read in the database."""

from collections.abc import Callable
from contextlib import closing
from typing import TypeVar

import sqlalchemy as sa

from cachewright.config import Settings
from cachewright.errors import DatabaseUnavailable
from cachewright.store.database import DatabaseNotReady
from cachewright.store.encryption import WrongKey
from cachewright.store.opening import open_in_use

Read = TypeVar("Read")


def read(settings: Settings, query: Callable[[sa.Connection], Read]) -> Read | None:
    """Return the result of a query; None if the database cannot be read, or is lost meanwhile. `check_database` reports
    that."""
    try:
        with closing(open_in_use(settings)) as database, database.read() as connection:
            return query(connection)
    except (DatabaseNotReady, DatabaseUnavailable, WrongKey, OSError):
        return None
