"""Copy all records from one database to an empty one, from SQLite to PostgreSQL.

DBOS's tables are not copied. A task without a workflow is enqueued again, and resumes from its record: finished
sub-steps are not repeated. Deliveries of webhooks are marked as not enqueued for the same reason.
"""

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from cachewright.store.database import Database, DatabaseNotReady
from cachewright.store.tables import (
    deliveries,
    instances,
    metadata,
    server_claims,
    server_coordination,
    servers,
    takeovers,
    users,
)

NOT_COPIED = frozenset({server_claims, server_coordination, servers, takeovers})
"""Tables of the processes that use a database."""

_ROWS = 500
_SEQUENCE = "sequence"
"""Column whose numbers the database assigns."""


def copy(source: Database, target: Database) -> dict[str, int]:
    """Copy all rows in one transaction. Return their number by table.

    Raises DatabaseNotReady if the target has records. Raises DatabaseUnavailable.
    """
    copied = {}
    with source.read() as reading, target.write() as writing:
        if any(_count(writing, table) for table in (users, instances)):
            raise DatabaseNotReady(f"{target.name} has records already; name an empty database")
        for table in metadata.sorted_tables:
            if table in NOT_COPIED:
                continue
            writing.execute(table.delete())  # rows of the migrations
            copied[table.name] = 0
            for rows in _batches(reading, table):
                writing.execute(table.insert(), rows)
                copied[table.name] += len(rows)
            if _SEQUENCE in table.c and copied[table.name]:
                _continue_sequence(writing, table)
        writing.execute(deliveries.update().where(deliveries.c.status == "WAITING").values(queued=False))
    return copied


def _batches(connection: sa.Connection, table: sa.Table) -> Iterator[list[dict[str, Any]]]:
    for rows in connection.execution_options(yield_per=_ROWS).execute(table.select()).mappings().partitions():
        yield [dict(row) for row in rows]


def _count(connection: sa.Connection, table: sa.Table) -> int:
    return int(connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())


def _continue_sequence(connection: sa.Connection, table: sa.Table) -> None:
    """Let the next number follow the copied ones."""
    newest = sa.select(sa.func.max(table.c[_SEQUENCE])).scalar_subquery()
    connection.execute(sa.select(sa.func.setval(sa.func.pg_get_serial_sequence(table.name, _SEQUENCE), newest)))
