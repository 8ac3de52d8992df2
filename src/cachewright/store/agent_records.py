"""What the agent of a host reads and writes in the tables of Cachewright.

With the role of its host, its tables are views of its own rows, in the schema of the role (`agent_access.py`). With the
role that agents of earlier releases shared, they are the tables themselves.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from cachewright.model.hosts import HostReport
from cachewright.store import hosts, sentinels, server_claims, stale_nodes
from cachewright.store.agent_access import access_name
from cachewright.store.database import DatabaseNotReady
from cachewright.store.driver_errors import tables_required
from cachewright.store.postgres import PostgresDatabase

SHARED_SCHEMA = "dbos"
"""Schema of the calls to agents with a shared role, and of the tasks of the servers."""


class AgentRecords:
    """All methods raise DatabaseUnavailable, and DatabaseNotReady if the role lacks its rights."""

    def __init__(self, database: PostgresDatabase, host_name: str) -> None:
        self._database = database
        self._host = host_name
        self._schema: str | None = None
        self._advice = f"upgrade the servers first, or give the role its rights: cachewright hosts grant {host_name}"

    @property
    def schema(self) -> str:
        """The schema of the calls to this agent."""
        if self._schema is None:
            with self._read() as connection:
                database, current = connection.exec_driver_sql("SELECT current_database(), current_schema()").one()
            self._schema = current if current == access_name(database, self._host) else SHARED_SCHEMA
        return self._schema

    @property
    def has_own_role(self) -> bool:
        return self.schema != SHARED_SCHEMA

    def require_host(self) -> None:
        """Raise DatabaseNotReady if there is no such host, or it was given up."""
        with self._read() as connection:
            record = hosts.get(connection, self._host)
        if record is None:
            advice = f"cachewright hosts add {self._host}, and use its role"
            raise DatabaseNotReady(f"the database has no host {self._host} for this role: {advice}")
        if record.state == "lost":
            advice = f"cachewright hosts uncordon {self._host} takes it up again, with the nodes that it still has"
            raise DatabaseNotReady(f"the host {self._host} was given up as lost: {advice}")

    def claim_address(self, address: str) -> None:
        """Record the address of this host. Raises DatabaseNotReady if another host has it: calls for its ports would
        come here."""
        try:
            with self._write() as connection:
                hosts.set_address(connection, self._host, address)
        except sa.exc.IntegrityError as error:
            raise DatabaseNotReady(str(error.orig).partition("\n")[0]) from error

    def is_recorded(self, kind: str, name: str) -> bool:
        """Whether a node, or a sentinel, is on this host."""
        with self._read() as connection:
            host_of = sentinels.host_of if kind == "sentinels" else hosts.of_node
            return host_of(connection, name) == self._host

    def sentinels(self) -> list[str]:
        """Return the sentinels that belong to this host; none if it was removed or given up."""
        with self._read() as connection:
            return [] if self._is_given_up(connection) else sentinels.on_host(connection, self._host)

    def may_run_sentinels(self) -> bool:
        """Whether the role may read where sentinels run."""
        with self._read() as connection:
            return sentinels.is_readable(connection)

    def epoch(self) -> int:
        """Return the epoch of the claim to perform tasks."""
        with self._read() as connection:
            return server_claims.epoch(connection)

    def clock_offset(self) -> float:
        with self._read() as connection:
            return hosts.clock_offset(connection)

    def stale(self) -> list[str]:
        """Return the nodes that were removed while this host did not report."""
        with self._read() as connection:
            return stale_nodes.on_host(connection, self._host)

    def deleted(self, node_id: str) -> None:
        """Record that such a node is deleted."""
        with self._write() as connection:
            if self.has_own_role:
                connection.execute(sa.select(sa.func.forget_stale_nodes([node_id], type_=sa.Text)))
            else:
                stale_nodes.deleted(connection, [node_id])

    def store(self, address: str, report: HostReport) -> bool:
        """Store the report. False if the host does not take part now: it was removed or given up, or has nodes to
        delete."""
        with self._write() as connection:
            return hosts.report(connection, self._host, address, report)

    def is_given_up(self) -> bool:
        """Whether the host was removed or given up."""
        with self._read() as connection:
            return self._is_given_up(connection)

    def _is_given_up(self, connection: sa.Connection) -> bool:
        record = hosts.get(connection, self._host)
        return record is None or record.state == "lost"

    @contextmanager
    def _read(self) -> Iterator[sa.Connection]:
        with tables_required(self._advice), self._database.read() as connection:
            yield connection

    @contextmanager
    def _write(self) -> Iterator[sa.Connection]:
        with tables_required(self._advice), self._database.statements() as connection:
            yield connection
