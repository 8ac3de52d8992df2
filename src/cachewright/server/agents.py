"""What agents reach in the database, kept up to date by the server that performs tasks."""

import logging

from cachewright.errors import DatabaseUnavailable
from cachewright.hosts.remote import HostCalls
from cachewright.model.hosts import EMBEDDED
from cachewright.store import hosts
from cachewright.store.agent_schemas import AgentSchemas
from cachewright.store.database import Database
from cachewright.store.postgres import PostgresDatabase

log = logging.getLogger(__name__)


def keep_agents(database: Database, calls: HostCalls | None) -> None:
    """Make the schemas of hosts as this release needs them, remove those of removed hosts, and delete records of ended
    calls. Blocks. No effect on SQLite. Raises DatabaseUnavailable."""
    if not isinstance(database, PostgresDatabase) or calls is None:
        return
    schemas = AgentSchemas(database)
    schemas.ensure_all()
    try:
        for role in schemas.remove_unused():
            log.warning("the host of the role %s was removed, and this server may not drop the role", role)
    except DatabaseUnavailable as error:
        log.warning("schemas of removed hosts are removed later: %s", error)
    with database.read() as connection:
        names = [host.name for host in hosts.without_reports(connection) if host.name != EMBEDDED]
    calls.forget(names)
