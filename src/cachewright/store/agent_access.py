"""What the agent of a host may reach in a PostgreSQL database: names and statements.

Each host has a role and a schema of the same name. The schema has tables of DBOS for the calls of this host, and views
of the rows of this host in the tables of Cachewright. The role has rights on nothing else.

The role has no right by which PostgreSQL lets it lock a whole table against the server: it updates columns, and deletes
nothing. A function deletes the rows of nodes that it has removed. Row security would not prevent such locks.
"""

import hashlib
from collections.abc import Mapping, Sequence

import msgspec
from psycopg.sql import SQL, Composable, Composed, Identifier, Literal

from cachewright.store.tables import hosts

_NAME_BYTES = 63
"""Longest name in PostgreSQL."""

_DIGEST = 16
_REPORT_BYTES = 16 * 2**20
_RESULT_BYTES = 4 * 2**20
"""Limit of the result of a call: that of an answer in `hosts.calls`, encoded twice in base 64."""

_NAMES_BYTES = 16 * 2**10
_RESULTS = frozenset({"output", "error"})
_ARGUMENTS = "inputs"
_READ_BY_SERVERS = frozenset({"workflow_status", "workflow_output"})
_LATEST_MS = 32_503_680_000_000
"""Latest time that an agent may report: the year 3000, in epoch milliseconds."""

_CONNECTIONS = 50
"""Maximum number of connections of an agent."""


class AgentAccess(msgspec.Struct, frozen=True):
    """:ivar database: name of the database.
    :ivar tables: name of the schema with the tables of Cachewright.
    :ivar owner: role of the servers, which owns them.
    :ivar host: name of the host.
    """

    database: str
    tables: str
    owner: str
    host: str

    @property
    def name(self) -> str:
        """Name of the role and of the schema."""
        return access_name(self.database, self.host)


def access_name(database: str, host: str) -> str:
    """Return the name of the role and the schema of a host. It contains the name of the database, because all databases
    of a PostgreSQL server share their roles."""
    name = f"{name_prefix(database)}{host}"
    if len(name.encode()) <= _NAME_BYTES:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:_DIGEST]
    return f"{name.encode()[: _NAME_BYTES - _DIGEST - 1].decode(errors='ignore')}_{digest}"


def name_prefix(database: str) -> str:
    """Return the beginning of the names of all roles and schemas of agents in a database."""
    return f"agent_{database}_"


def objects(access: AgentAccess) -> list[Composed]:
    """Return statements that make the views and the function in the schema of a host. They may be repeated.

    A view refuses reports that would harm the servers, which read the reports of all hosts.
    """
    names = {"s": Identifier(access.name), "t": Identifier(access.tables), "host": Literal(access.host)}
    limits = {"bytes": Literal(_REPORT_BYTES), "latest": Literal(_LATEST_MS), "address": Literal("^[0-9A-Fa-f:.]*$")}
    columns: Composable = SQL(", ").join(map(Identifier, hosts.c.keys()))
    return [
        SQL(
            "CREATE OR REPLACE VIEW {s}.hosts WITH (security_barrier) AS"
            " SELECT {columns} FROM {t}.hosts"
            " WHERE name = {host} AND octet_length(report) <= {bytes} AND address ~ {address}"
            " AND coalesce(seen_at, 0) BETWEEN 0 AND {latest} WITH CHECK OPTION"
        ).format(**names, **limits, columns=columns),
        SQL(
            "CREATE OR REPLACE VIEW {s}.nodes WITH (security_barrier) AS"
            " SELECT id, host_name FROM {t}.nodes WHERE host_name = {host}"
        ).format(**names),
        SQL(
            "CREATE OR REPLACE VIEW {s}.sentinels WITH (security_barrier) AS"
            " SELECT id, host_name FROM {t}.sentinels WHERE host_name = {host}"
        ).format(**names),
        SQL(
            "CREATE OR REPLACE VIEW {s}.stale_nodes WITH (security_barrier) AS"
            " SELECT id, host_name, removed_at FROM {t}.stale_nodes WHERE host_name = {host}"
        ).format(**names),
        SQL("CREATE OR REPLACE VIEW {s}.server_claims AS SELECT epoch FROM {t}.server_claims").format(**names),
        SQL(
            "CREATE OR REPLACE FUNCTION {s}.forget_stale_nodes(ids text[]) RETURNS void LANGUAGE sql"
            " SECURITY DEFINER SET search_path = pg_catalog, pg_temp"
            " AS $$ DELETE FROM {t}.stale_nodes WHERE host_name = {host} AND id = ANY (ids) $$"
        ).format(**names),
        SQL("REVOKE ALL ON FUNCTION {s}.forget_stale_nodes(text[]) FROM PUBLIC").format(**names),
    ]


def limits(access: AgentAccess, texts: Mapping[str, Sequence[str]]) -> list[Composed]:
    """Return statements after which DBOS's tables in the schema of a host refuse rows that would fill the memory of a
    server that reads them. They may be repeated. Arguments of calls are the servers' own, and are not read.

    :param texts: columns with texts, by table.
    """
    statements = []
    for table in sorted(_READ_BY_SERVERS & texts.keys()):
        names = {"table": SQL("{}.{}").format(Identifier(access.name), Identifier(table))}
        results = [column for column in texts[table] if column in _RESULTS]
        others = [column for column in texts[table] if column not in _RESULTS and column != _ARGUMENTS]
        checks = [
            SQL("{} <= {}").format(SQL(" + ").join(map(_length, columns)), Literal(most))
            for columns, most in ((results, _RESULT_BYTES), (others, _NAMES_BYTES))
            if columns
        ]
        statements += [
            SQL("ALTER TABLE {table} DROP CONSTRAINT IF EXISTS cachewright_limits").format(**names),
            SQL("ALTER TABLE {table} ADD CONSTRAINT cachewright_limits CHECK ({checks}) NOT VALID").format(
                **names, checks=SQL(" AND ").join(checks)
            ),
        ]
    return statements


def _length(column: str) -> Composed:
    return SQL("coalesce(octet_length({}::text), 0)").format(Identifier(column))


def login(access: AgentAccess, *, exists: bool, verifier: str | None) -> list[Composed]:
    """Return statements that make the role of a host, or bring it up to date.

    :param verifier: of the password, as PostgreSQL stores it; None to keep the password.
    """
    names = {"role": Identifier(access.name), "database": Identifier(access.database)}
    statements = [] if exists else [SQL("CREATE ROLE {role} LOGIN").format(**names)]
    statements.append(SQL("ALTER ROLE {role} CONNECTION LIMIT {n}").format(**names, n=Literal(_CONNECTIONS)))
    statements.append(SQL("ALTER ROLE {role} IN DATABASE {database} SET search_path = {role}").format(**names))
    if verifier is not None:
        statements.append(SQL("ALTER ROLE {role} PASSWORD {verifier}").format(**names, verifier=Literal(verifier)))
    return statements


def grants(access: AgentAccess, columns: Mapping[str, Sequence[str]]) -> list[Composed]:
    """Return statements that give the role of a host its rights.

    :param columns: of DBOS's tables in its schema, by table.
    """
    names = {"s": Identifier(access.name), "role": Identifier(access.name)}
    statements = [
        SQL("GRANT USAGE ON SCHEMA {s} TO {role}").format(**names),
        SQL("GRANT SELECT ON ALL TABLES IN SCHEMA {s} TO {role}").format(**names),
        SQL("GRANT UPDATE (address, report, seen_at) ON {s}.hosts TO {role}").format(**names),
        SQL("GRANT EXECUTE ON FUNCTION {s}.forget_stale_nodes(text[]) TO {role}").format(**names),
    ]
    for table, its_columns in sorted(columns.items()):
        listed: Composable = SQL(", ").join(map(Identifier, its_columns))
        statements.append(
            SQL("GRANT INSERT, UPDATE ({columns}) ON {s}.{table} TO {role}").format(
                **names, table=Identifier(table), columns=listed
            )
        )
    return statements


def closing(access: AgentAccess) -> list[Composed]:
    """Return statements after which only the servers can create objects beside their tables. Before PostgreSQL 15,
    every role may create objects in the schema `public`, also functions that the servers would call."""
    names = {"t": Identifier(access.tables), "owner": Identifier(access.owner)}
    return [
        SQL("GRANT CREATE ON SCHEMA {t} TO {owner}").format(**names),
        SQL("REVOKE CREATE ON SCHEMA {t} FROM PUBLIC").format(**names),
    ]


def disarming(role: str) -> list[Composed]:
    """Return statements that end the sessions of a role, which cannot connect again."""
    names = {"role": Identifier(role), "name": Literal(role)}
    return [
        SQL("ALTER ROLE {role} NOLOGIN").format(**names),
        SQL("GRANT {role} TO CURRENT_USER").format(**names),
        SQL("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = {name}").format(**names),
    ]


def removal(name: str, *, with_role: bool) -> list[Composed]:
    """Return statements that drop the schema of a host, and its role."""
    names = {"name": Identifier(name)}
    statements = [SQL("DROP SCHEMA IF EXISTS {name} CASCADE").format(**names)]
    if with_role:
        statements += [SQL("DROP OWNED BY {name}").format(**names), SQL("DROP ROLE {name}").format(**names)]
    return statements
