"""Queries on hosts."""

import time
from collections.abc import Mapping
from typing import Any

import msgspec
import sqlalchemy as sa

from cachewright.clock import now_ms
from cachewright.model.hosts import EMBEDDED, HostRecord, HostReport
from cachewright.store.database_time import database_seconds
from cachewright.store.postgres import SHORT_WAITS
from cachewright.store.rows import columns, from_row, to_row
from cachewright.store.tables import hosts, nodes, stale_nodes


def every(connection: sa.Connection) -> list[HostRecord]:
    """Return all hosts, ordered by name."""
    return [_record(row._mapping) for row in connection.execute(hosts.select().order_by(hosts.c.name))]


def without_reports(connection: sa.Connection) -> list[HostRecord]:
    """Return all hosts without their reports, which name all their processes, ordered by name."""
    query = sa.select(*(column for column in hosts.c if column.name != "report"))
    return [from_row(HostRecord, row._mapping) for row in connection.execute(query.order_by(hosts.c.name))]


def after(connection: sa.Connection, known: Mapping[str, HostRecord]) -> list[HostRecord]:
    """Return all hosts, ordered by name. Reports that are in `known` are not read again."""
    found = without_reports(connection)
    new = [host.name for host in found if host.name not in known or known[host.name].seen_at != host.seen_at]
    query = hosts.select().where(hosts.c.name.in_(new))
    read = {row.name: _record(row._mapping) for row in connection.execute(query)} if new else {}
    return [read.get(host.name) or msgspec.structs.replace(host, report=known[host.name].report) for host in found]


def other_addresses(connection: sa.Connection) -> tuple[str, ...]:
    """Return the addresses of all hosts but the server's, which is known by the machine itself. A host that has not
    reported yet has none."""
    return tuple(host.address for host in without_reports(connection) if host.name != EMBEDDED and host.address)


def get(connection: sa.Connection, name: str) -> HostRecord | None:
    row = connection.execute(hosts.select().where(hosts.c.name == name)).one_or_none()
    return _record(row._mapping) if row else None


def add(connection: sa.Connection, host: HostRecord) -> None:
    connection.execute(hosts.insert().values(to_row(host)))


def remove(connection: sa.Connection, name: str) -> bool:
    """Remove a host. False if its agent has locked the row, as it does for a moment in each report; an agent that keeps
    the lock does not stop the caller."""
    return connection.execute(hosts.delete().where(hosts.c.name.in_(_unlocked(name)))).rowcount == 1


def change(connection: sa.Connection, name: str, **values: Any) -> None:
    """Change a host. Raises DatabaseUnavailable if its agent keeps the row locked."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(SHORT_WAITS)
    connection.execute(hosts.update().where(hosts.c.name == name).values(columns(**values)))


def set_address(connection: sa.Connection, name: str, address: str) -> None:
    """Record the address of a host. Raises sqlalchemy's IntegrityError if another one has it. For PostgreSQL."""
    connection.execute(hosts.update().where(hosts.c.name == name).values(address=address))


def saw(connection: sa.Connection, name: str, address: str, report: HostReport) -> bool:
    """Store the report of a host, and the time. Return whether there is such a host."""
    values = columns(address=address, report=report, seen_at=now_ms())
    return connection.execute(hosts.update().where(hosts.c.name == name).values(values)).rowcount == 1


def report(connection: sa.Connection, name: str, address: str, found: HostReport) -> bool:
    """Store the report of a host that takes part, in one statement. Without effect, and False, if the host was removed
    or given up, or has to delete nodes first."""
    values = columns(address=address, report=found, seen_at=now_ms())
    takes_part = sa.and_(hosts.c.state != "lost", ~sa.exists().where(stale_nodes.c.host_name == name))
    return connection.execute(hosts.update().where(hosts.c.name == name, takes_part).values(values)).rowcount == 1


def clock_offset(connection: sa.Connection) -> float:
    """Return by how many seconds the clock of the database is ahead of this machine's. For PostgreSQL."""
    before = time.time()
    database = database_seconds(connection)
    return database - (before + time.time()) / 2


def of_node(connection: sa.Connection, node_id: str) -> str | None:
    """Return the name of the host of a node, or None if the node is not recorded."""
    return connection.execute(sa.select(nodes.c.host_name).where(nodes.c.id == node_id)).scalar_one_or_none()


def by_node(connection: sa.Connection) -> dict[str, str]:
    """Return the name of the host of each node on a host with an agent."""
    query = sa.select(nodes.c.id, nodes.c.host_name).where(nodes.c.host_name != EMBEDDED)
    return {node_id: host_name for node_id, host_name in connection.execute(query)}  # noqa: C416  # as in `spec_codes`


def zones(connection: sa.Connection) -> list[str]:
    """Return the zones of all hosts, ordered."""
    return list(connection.execute(sa.select(hosts.c.zone).distinct().order_by(hosts.c.zone)).scalars())


def crossing_nodes(connection: sa.Connection) -> dict[str, tuple[int, int]]:
    """Return the number of nodes of all projects whose instances are not on the machine of the server alone, and the
    number of those without TLS, by host."""
    elsewhere = sa.select(nodes.c.instance_id).where(nodes.c.host_name != EMBEDDED)
    counted = sa.select(nodes.c.host_name, sa.func.count().label("nodes"), sa.func.count(nodes.c.tls_port).label("tls"))
    query = counted.where(nodes.c.instance_id.in_(elsewhere)).group_by(nodes.c.host_name)
    return {row.host_name: (row.nodes, row.nodes - row.tls) for row in connection.execute(query)}


def node_counts(connection: sa.Connection) -> dict[str, int]:
    """Return the number of nodes of all projects by host."""
    query = sa.select(nodes.c.host_name, sa.func.count().label("nodes")).group_by(nodes.c.host_name)
    return {row.host_name: row.nodes for row in connection.execute(query)}


def _unlocked(name: str) -> sa.Select[tuple[str]]:
    return sa.select(hosts.c.name).where(hosts.c.name == name).with_for_update(skip_locked=True)


def _record(row: Mapping[Any, Any]) -> HostRecord:
    """Return a host; without its report if the agent has stored one that cannot be read."""
    try:
        return from_row(HostRecord, row)
    except msgspec.DecodeError:
        return from_row(HostRecord, {**row, "report": "null"})
