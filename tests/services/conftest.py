"""A database with the records of two hosts and a cluster."""

from collections.abc import Iterator

import pytest

from cachewright.model.hosts import EMBEDDED
from cachewright.services import hosts as service
from cachewright.store import hosts, instances
from cachewright.store.transactions import SqlDatabase
from database_fixtures import migrated
from hosts_with_nodes import INSTANCE, NODES, REPORT


@pytest.fixture
def database(database_url: str) -> Iterator[SqlDatabase]:
    database = migrated(database_url)
    with database.write() as connection:
        hosts.saw(connection, EMBEDDED, "127.0.0.1", REPORT)
        service.add(connection, "h2", "local")
        hosts.saw(connection, "h2", "127.0.0.2", REPORT)
        instances.add(connection, INSTANCE)
        instances.add_nodes(connection, NODES)
    yield database
    database.close()
