"""Schemas and roles of agents in a PostgreSQL database: made, brought up to date, and removed."""

import hashlib
import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import psycopg
import sqlalchemy as sa
from dbos import DBOS
from psycopg.sql import SQL, Composed, Identifier, Literal

from cachewright.errors import CachewrightError
from cachewright.model.hosts import EMBEDDED
from cachewright.store import agent_access, hosts, stale_nodes
from cachewright.store.agent_access import AgentAccess
from cachewright.store.postgres import PostgresDatabase

log = logging.getLogger(__name__)

_MARK = "Calls of an agent of Cachewright"
"""Begin of the comment on each schema. A digest of its statements follows."""

_VERSIONS = "dbos_migrations"
_OF_SERVER = "dbos"
_PLACE = """
SELECT current_database(), n.nspname, pg_get_userbyid(c.relowner)
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = 'hosts'::regclass
"""
_COLUMNS = """
SELECT c.relname, a.attname, t.typcategory = 'S' OR t.typname IN ('json', 'jsonb')
FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid JOIN pg_type AS t ON t.oid = a.atttypid
WHERE c.relnamespace = to_regnamespace(%s) AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY c.relname, a.attnum
"""
_MARKED = """
SELECT nspname FROM pg_namespace WHERE starts_with(obj_description(oid, 'pg_namespace'), %s) ORDER BY nspname
"""
_ONE_AT_A_TIME = "LOCK TABLE alembic_version IN SHARE ROW EXCLUSIVE MODE"
"""Orders changes of schemas among servers, commands and migrations. Agents have no right on the table."""

_OPEN_TO_ALL = """
SELECT 1 FROM pg_namespace AS n, aclexplode(n.nspacl) AS a
WHERE n.nspname = %s AND a.grantee = 0 AND a.privilege_type = 'CREATE'
"""


class MayNotChangeRoles(CachewrightError):
    """The role of the servers may not create, change or drop the role of an agent."""


class AgentSchemas:
    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database

    def ensure(self, host_name: str) -> AgentAccess:
        """Make the schema of a host, or bring it up to date, and give its rights to the role of the host if there is
        one. Raises DatabaseUnavailable."""
        with self._database.read() as connection:
            access = find_access(connection, host_name)
            version, newest = _version(connection, access.name), _version(connection, _OF_SERVER)
        if version is None or version != newest:
            logging.getLogger("dbos").setLevel(logging.CRITICAL)  # as in the engine
            with _plain_indexes(access.name) if version is None else nullcontext():
                DBOS.migrate(self._database.workflow_url, schema=access.name)
        with self._database.write_unordered() as connection:
            connection.exec_driver_sql(_ONE_AT_A_TIME)
            columns = _columns(connection, access.name)
            limits = agent_access.limits(access, _columns(connection, access.name, texts=True))
            objects, grants = agent_access.objects(access), agent_access.grants(access, columns)
            comment = f"{_MARK}, {_digest([*objects, *limits, *grants])}"
            if _comment(connection, access.name) != comment:
                _run(connection, [*objects, *limits])
                if has_role(connection, access.name):
                    _run(connection, grants)
                marking = SQL("COMMENT ON SCHEMA {} IS {}").format(Identifier(access.name), Literal(comment))
                _run(connection, [marking])
        return access

    def ensure_all(self) -> None:
        """Bring the schemas of all hosts with agents up to date. A schema that fails does not keep others from it."""
        with self._database.read() as connection:
            names = [host.name for host in hosts.without_reports(connection) if host.name != EMBEDDED]
        for name in names:
            try:
                self.ensure(name)
            except Exception:
                log.exception("the schema of host %s in the database cannot be brought up to date", name)

    def remove_unused(self) -> list[str]:
        """Remove schemas and roles of hosts that are not recorded and have no nodes to delete. Return the names of
        roles that are left, because the servers may not drop them."""
        with self._database.read() as connection:
            place = find_access(connection, "")
            used = {agent_access.access_name(place.database, name) for name in _used_names(connection)}
            found = connection.exec_driver_sql(_MARKED, (_MARK,)).scalars().all()
        return [name for name in found if name not in used and not self._remove(place, name)]

    def sessions(self, host_name: str) -> int:
        """Return the number of sessions of the role of a host."""
        with self._database.read() as connection:
            name = find_access(connection, host_name).name
            counting = "SELECT count(*) FROM pg_stat_activity WHERE usename = %s"
            return int(connection.exec_driver_sql(counting, (name,)).scalar_one())

    def _remove(self, place: AgentAccess, name: str) -> bool:
        """Remove a schema, and its role unless another database has made it. Return whether no role is left."""
        with self._database.read() as connection:
            with_role = name.startswith(agent_access.name_prefix(place.database)) and has_role(connection, name)
        is_left = False
        if with_role:
            try:
                with self._database.write_unordered() as connection:
                    run_for_role(connection, agent_access.disarming(name))
            except MayNotChangeRoles:
                is_left = True
        with self._database.write_unordered() as connection:
            _run(connection, agent_access.removal(name, with_role=with_role and not is_left))
        log.info("the schema %s of a host that was removed is dropped", name)
        return not is_left


@contextmanager
def _plain_indexes(schema: str) -> Iterator[None]:
    """Let DBOS make and drop the indexes of a new schema without CONCURRENTLY.

    With it, PostgreSQL waits for the end of all older transactions in the database, once for each of about thirty
    indexes. Every server and agent has such transactions: DBOS keeps some of them open for a second. A new schema has
    no readers or writers that a lock on its tables could block. Source: https://www.postgresql.org/docs/current/sql-createindex.html#SQL-CREATEINDEX-CONCURRENTLY.
    """

    def rewrite(
        _connection: sa.Connection, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool
    ) -> tuple[str, Any]:
        is_index = statement.lstrip().startswith(("CREATE INDEX", "CREATE UNIQUE INDEX", "DROP INDEX"))
        if is_index and f'"{schema}".' in statement:
            statement = statement.replace(" CONCURRENTLY ", " ", 1)
        return statement, parameters

    # DBOS makes the engine by itself.
    sa.event.listen(sa.Engine, "before_cursor_execute", rewrite, retval=True)
    try:
        yield
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", rewrite)


def find_access(connection: sa.Connection, host_name: str) -> AgentAccess:
    """Return what the agent of a host may reach in this database."""
    database, tables, owner = connection.exec_driver_sql(_PLACE).one()
    return AgentAccess(database, tables, owner, host_name)


def grant(connection: sa.Connection, access: AgentAccess, password: str | None) -> list[Composed]:
    """Return the statements that give a host its role and its rights. Its schema exists.

    :param password: a new one; None to keep the present one.
    """
    verifier = _verifier(connection, access.name, password) if password is not None else None
    exists = has_role(connection, access.name)
    return [
        *(agent_access.closing(access) if _is_open(connection, access) else ()),
        *agent_access.login(access, exists=exists, verifier=verifier),
        *agent_access.grants(access, _columns(connection, access.name)),
    ]


def are_possible(connection: sa.Connection) -> bool:
    """Whether agents can use this database."""
    return connection.dialect.name == "postgresql"


def is_open_to_all(connection: sa.Connection) -> bool:
    """Whether every role may create objects beside the tables of Cachewright."""
    return _is_open(connection, find_access(connection, ""))


def run_for_role(connection: sa.Connection, statements: Iterable[Composed]) -> None:
    """Run statements about roles. Raises MayNotChangeRoles."""
    try:
        _run(connection, statements)
    except sa.exc.DBAPIError as error:
        if isinstance(error.orig, psycopg.errors.InsufficientPrivilege):
            raise MayNotChangeRoles(str(error.orig)) from error
        raise


def has_role(connection: sa.Connection, name: str) -> bool:
    return connection.exec_driver_sql("SELECT 1 FROM pg_roles WHERE rolname = %s", (name,)).one_or_none() is not None


def writers(connection: sa.Connection) -> list[str]:
    """Return the roles besides the owner that may change the calls of all hosts or their keys: the shared role of
    agents of earlier releases, and PUBLIC."""
    query = """
        SELECT DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(a.grantee) END
        FROM pg_class AS c, aclexplode(c.relacl) AS a
        WHERE c.oid IN ('hosts'::regclass, to_regclass('dbos.workflow_status')) AND a.grantee <> c.relowner
        AND a.privilege_type IN ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE') ORDER BY 1
    """
    return [str(name) for name in connection.exec_driver_sql(query).scalars()]


def _is_open(connection: sa.Connection, access: AgentAccess) -> bool:
    return connection.exec_driver_sql(_OPEN_TO_ALL, (access.tables,)).one_or_none() is not None


def _used_names(connection: sa.Connection) -> Collection[str]:
    """Return the names of hosts whose agents need their access: an agent of a removed host deletes what was made again
    elsewhere."""
    return {host.name for host in hosts.without_reports(connection)} | stale_nodes.host_names(connection)


def _version(connection: sa.Connection, schema: str) -> int | None:
    """Return the version of DBOS's tables in a schema, None if there are none."""
    table = SQL("{}.{}").format(Identifier(schema), Identifier(_VERSIONS)).as_string(None)
    if connection.exec_driver_sql("SELECT to_regclass(%s)", (table,)).scalar_one() is None:
        return None
    found: int | None = connection.exec_driver_sql(f"SELECT max(version) FROM {table}").scalar_one()  # noqa: S608  # quoted
    return found


def _columns(connection: sa.Connection, schema: str, *, texts: bool = False) -> Mapping[str, Sequence[str]]:
    """Return the columns of DBOS's tables in a schema that an agent writes, by table.

    :param texts: those with texts alone.
    """
    quoted = Identifier(schema).as_string(None)
    found: dict[str, list[str]] = {}
    for table, column, is_text in connection.exec_driver_sql(_COLUMNS, (quoted,)):
        if table != _VERSIONS and (is_text or not texts):
            found.setdefault(table, []).append(column)
    return found


def _comment(connection: sa.Connection, schema: str) -> str | None:
    quoted = Identifier(schema).as_string(None)
    query = "SELECT obj_description(to_regnamespace(%s), 'pg_namespace')"
    found: str | None = connection.exec_driver_sql(query, (quoted,)).scalar_one()
    return found


def _digest(statements: Sequence[Composed]) -> str:
    text = "\n".join(statement.as_string(None) for statement in statements)
    return hashlib.sha256(text.encode()).hexdigest()


def _verifier(connection: sa.Connection, role: str, password: str) -> str:
    """Return what PostgreSQL stores of a password, which does not reveal it."""
    driver: Any = connection.connection.driver_connection
    encrypted: bytes = driver.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256")
    return encrypted.decode()


def _run(connection: sa.Connection, statements: Iterable[Composed]) -> None:
    for statement in statements:
        connection.exec_driver_sql(statement.as_string(None).replace("%", "%%"))
