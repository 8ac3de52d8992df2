"""What a taken-over host can do with the database role of its agent: nothing to other hosts, servers and tasks."""

import re
import select
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any

import msgspec
import psycopg
import pytest
import sqlalchemy as sa
from dbos import DBOS
from psycopg import sql

from cachewright.hosts.remote import HostCalls
from cachewright.model.hosts import HostRecord, HostReport, StaleNode
from cachewright.model.instances import Node
from cachewright.store import hosts, instances, server_claims, stale_nodes, tasks
from cachewright.store.agent_access import AgentAccess
from cachewright.store.agent_records import AgentRecords
from cachewright.store.agent_schemas import AgentSchemas, grant, has_role, run_for_role
from cachewright.store.claim import LOCK_CLASS, LeasedClaim, new_session_name
from cachewright.store.database import DatabaseNotReady
from cachewright.store.notifications import announce_task, calls_channel, notify_agent, server_channels
from cachewright.store.postgres import PostgresDatabase
from cachewright.store.rows import to_row
from cachewright.store.tables import stale_nodes as stale_table
from claim_of_server import elsewhere
from database_fixtures import a_report, a_task, an_instance, migrated, opened
from postgres_server import PostgresServer
from standalone_node import node_at

KEY_OF_H3 = "the key of h3"
REPORT = a_report(has_own_role=True)
PASSWORD = "Password-of-h2"
REFUSED = (psycopg.errors.InsufficientPrivilege, psycopg.errors.UndefinedTable, psycopg.errors.UndefinedFunction)


class Premises:
    """A database of a server whose role is no superuser, with the hosts h2 and h3. The attacker has the role of h2."""

    def __init__(self, postgres: PostgresServer) -> None:
        admin = postgres.new_database()
        name = admin.partition("?")[0].rpartition("/")[2]
        owner = f"owner_{name}"
        with psycopg.connect(admin, autocommit=True) as connection:
            connection.execute(f"CREATE ROLE {owner} LOGIN CREATEROLE PASSWORD '{PASSWORD}'".encode())
            connection.execute(f"ALTER DATABASE {name} OWNER TO {owner}".encode())
        self.admin = admin
        self.owner_url = re.sub(r"//postgres:[^@]*@", f"//{owner}:{PASSWORD}@", admin)
        self.database = migrated(self.owner_url)
        assert isinstance(self.database, PostgresDatabase)
        DBOS.migrate(self.database.workflow_url)
        self.schemas = AgentSchemas(self.database)
        node = elsewhere(node_at(10001))
        with self.database.write() as connection:
            for number in (2, 3):
                address = f"10.0.0.{number}"
                record = HostRecord(name=f"h{number}", address=address, zone="z", state="active", created_at=1)
                hosts.add(connection, record)
            hosts.saw(connection, "h3", "10.0.0.3", _report(KEY_OF_H3))
            instances.add(connection, an_instance())
            instances.add_nodes(connection, [node, _on_h3(node)])
            for stale in (("s2", "h2"), ("s3", "h3")):
                connection.execute(
                    stale_table.insert(), to_row(StaleNode(id=stale[0], host_name=stale[1], removed_at=1))
                )
            tasks.add(connection, a_task(id="t1"))
        self.h2, self.h3 = (self._granted(name) for name in ("h2", "h3"))
        self.url = re.sub(r"//[^@]*@", f"//{self.h2.name}:{PASSWORD}@", admin)

    def _granted(self, name: str) -> AgentAccess:
        access = self.schemas.ensure(name)
        with self.database.write() as connection:
            run_for_role(connection, grant(connection, access, PASSWORD))
        return access

    def attacker(self) -> psycopg.Connection[tuple[Any, ...]]:
        return psycopg.connect(self.url, autocommit=True)

    def snapshot(self) -> Mapping[str, Any]:
        """All that the attacker must not change."""
        tables = ("public.hosts", "public.nodes", "public.stale_nodes", "public.server_claims", "public.tasks")
        tables += ("public.server_coordination", "dbos.workflow_status", f'"{self.h3.name}".workflow_status')
        with psycopg.connect(self.admin) as connection:
            return {table: connection.execute(f"TABLE {table}".encode()).fetchall() for table in tables}


def _report(key: str) -> HostReport:
    return a_report(public_key=key, has_own_role=True)


def _on_h3(node: Node) -> Node:
    return msgspec.structs.replace(node, id="3" * 40, host_name="h3", port=10002, bus_port=2)


@pytest.fixture(scope="module")
def premises(postgres: PostgresServer) -> Iterator[Premises]:
    made = Premises(postgres)
    yield made
    made.database.close()
    postgres.drop_database(made.admin)


@pytest.fixture
def attacker(premises: Premises) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    with premises.attacker() as connection:
        yield connection


READS = (
    *(f"public.{table}" for table in ("users", "access_keys", "instances", "tasks", "hosts", "nodes", "stale_nodes")),
    *(f"public.{table}" for table in ("server_claims", "server_coordination", "audit", "tokens", "webhooks")),
    *("dbos.workflow_status", "dbos.workflow_input", "dbos.workflow_output", "dbos.queues"),
    *("{h3}.workflow_status", "{h3}.workflow_input", "{h3}.workflow_output", "{h3}.hosts", "{h3}.nodes"),
)


@pytest.mark.parametrize("table", READS)
def test_the_role_reads_and_locks_no_tables_of_others(
    premises: Premises, attacker: psycopg.Connection[tuple[Any, ...]], table: str
) -> None:
    named = table.format(h3=f'"{premises.h3.name}"')
    for statement in (f"TABLE {named}", f"LOCK TABLE {named} IN ACCESS SHARE MODE", f"TRUNCATE {named}"):
        with pytest.raises(REFUSED), attacker.transaction():
            attacker.execute(statement.encode())


CHANGES = {
    "cancel tasks": "UPDATE dbos.workflow_status SET status = 'CANCELLED'",
    "delete tasks": "DELETE FROM dbos.workflow_status",
    "enqueue a task": "INSERT INTO dbos.workflow_status (workflow_uuid, queue_name) VALUES ('x', 'instances')",
    "enqueue by function": "SELECT dbos.enqueue_workflow('run_task', 'instances')",
    "call another host": "INSERT INTO {h3}.workflow_status (workflow_uuid, queue_name) VALUES ('x', 'host h3')",
    "cancel calls of another host": "UPDATE {h3}.workflow_status SET status = 'CANCELLED'",
    "take the claim": "UPDATE public.server_claims SET epoch = 100",
    "take the claim by the view": "UPDATE server_claims SET epoch = 100",
    "key of another host": "UPDATE public.hosts SET report = '{{}}' WHERE name = 'h3'",
    "key of another host by its view": "UPDATE {h3}.hosts SET report = '{{}}'",
    "name": "UPDATE hosts SET name = 'h3'",
    "state": "UPDATE hosts SET state = 'active'",
    "zone": "UPDATE hosts SET zone = 'a'",
    "delete the host": "DELETE FROM hosts",
    "add a host": "INSERT INTO hosts (name) VALUES ('h9')",
    "node": "UPDATE nodes SET host_name = 'h2'",
    "delete stale nodes": "DELETE FROM stale_nodes",
    "stale nodes of another host": "SELECT {h3}.forget_stale_nodes(ARRAY['s3'])",
    "delete own calls": "DELETE FROM workflow_status",
    "lock own calls": "LOCK TABLE workflow_status IN ACCESS EXCLUSIVE MODE",
    "lock the hosts": "LOCK TABLE hosts IN EXCLUSIVE MODE",
    "create a table": "CREATE TABLE made (a int)",
    "create a function beside the tables": "CREATE FUNCTION public.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "create a schema": "CREATE SCHEMA made",
    "become the owner": "SET ROLE {owner}",
    "end sessions of servers": "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{owner}'",
    "rename the lock": "ALTER TABLE public.server_coordination RENAME TO x",
    "use a function of the tables": "CREATE TEMP TABLE t (name text, address text); CREATE TRIGGER x BEFORE INSERT ON t"
    " FOR EACH ROW EXECUTE FUNCTION public.cachewright_host_address()",
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_role_changes_nothing_of_others(
    premises: Premises, attacker: psycopg.Connection[tuple[Any, ...]], change: str
) -> None:
    before = premises.snapshot()
    statement = CHANGES[change].format(h3=f'"{premises.h3.name}"', owner=premises.h3.owner)
    with pytest.raises(REFUSED), attacker.transaction():
        attacker.execute(statement.encode())
    assert premises.snapshot() == before


REPORTS = {
    "too large": "UPDATE hosts SET report = repeat('x', 20000000)",
    "address that ends a line": "UPDATE hosts SET address = E'10.0.0.9\\n'",
    "time that no clock shows": "UPDATE hosts SET seen_at = 9000000000000000000",
}


@pytest.mark.parametrize("report", REPORTS)
def test_a_report_that_would_harm_servers_is_refused(
    attacker: psycopg.Connection[tuple[Any, ...]], report: str
) -> None:
    with pytest.raises(psycopg.errors.WithCheckOptionViolation):
        attacker.execute(REPORTS[report].encode())


RESULTS = {
    "result": "INSERT INTO workflow_output (workflow_uuid, output, retention_timestamp) VALUES ('x', {}, 1)",
    "error": "INSERT INTO workflow_output (workflow_uuid, error, retention_timestamp) VALUES ('x', {}, 1)",
    "result of an earlier release": "UPDATE workflow_status SET output = {}",
    "name": "UPDATE workflow_status SET authenticated_roles = {}",
    "attributes": "UPDATE workflow_status SET attributes = jsonb_build_object('a', {})",
}


@pytest.mark.parametrize("result", RESULTS)
def test_the_result_of_a_call_that_would_fill_the_memory_of_servers_is_refused(
    premises: Premises, attacker: psycopg.Connection[tuple[Any, ...]], result: str
) -> None:
    calls = HostCalls(premises.database, "1")
    try:
        call_id = calls.queue("h2", _report("key")).enqueue("n", "sealed" * 1_000_000)  # calls have no limit
        with pytest.raises(psycopg.errors.CheckViolation, match="cachewright_limits"):
            attacker.execute(RESULTS[result].format("repeat('x', 5000000)").encode())
        attacker.execute("UPDATE workflow_status SET status = 'SUCCESS', completed_at = 1")
        assert call_id
        calls.forget(["h2"])
    finally:
        calls.close()


def test_a_host_does_not_take_the_address_of_another(
    premises: Premises, attacker: psycopg.Connection[tuple[Any, ...]]
) -> None:
    with pytest.raises(psycopg.errors.UniqueViolation, match="host h3 has the address"):
        attacker.execute("UPDATE hosts SET address = '10.0.0.3'")
    with _records(premises, "h2") as records:
        with pytest.raises(DatabaseNotReady, match=r"host h3 has the address 10\.0\.0\.3; each host needs its own"):
            records.claim_address("10.0.0.3")
        records.claim_address("10.0.0.2")


def test_a_report_that_cannot_be_read_hides_its_host_alone(
    premises: Premises, attacker: psycopg.Connection[tuple[Any, ...]]
) -> None:
    for garbage in ("{", '{"cpus": "many"}', "[]"):
        attacker.execute("UPDATE hosts SET report = %s", (garbage,))
        with premises.database.read() as connection:
            found = {host.name: host.report for host in hosts.every(connection)}
        assert found["h2"] is None
        assert found["h3"] == _report(KEY_OF_H3)


def test_a_function_of_the_attacker_sees_no_rows_of_others(attacker: psycopg.Connection[tuple[Any, ...]]) -> None:
    seen: list[str] = []
    attacker.add_notice_handler(lambda notice: seen.append(notice.message_primary or ""))
    attacker.execute("""
        CREATE FUNCTION pg_temp.tell(value text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS $$
        BEGIN RAISE NOTICE 'seen: %', value; RETURN true; END $$
    """)
    for table, column in (("hosts", "name"), ("nodes", "id"), ("stale_nodes", "id")):
        attacker.execute(
            sql.SQL("SELECT * FROM {} WHERE pg_temp.tell({})").format(sql.Identifier(table), sql.Identifier(column))
        )
    assert seen == ["seen: h2", "seen: " + "b" * 40, "seen: s2"]


def test_locks_of_the_attacker_stop_no_server(
    premises: Premises, attacker: psycopg.Connection[tuple[Any, ...]]
) -> None:
    for number in (1, 2):
        attacker.execute("SELECT pg_advisory_lock(%s, %s)", (LOCK_CLASS, number))
    with attacker.transaction():
        attacker.execute("UPDATE hosts SET seen_at = 5")
        attacker.execute("SELECT * FROM workflow_status FOR UPDATE")
        with premises.database.write() as connection:
            connection.execute(sa.text("SET LOCAL lock_timeout = '100ms'"))
            assert not hosts.remove(connection, "h2"), "the row is locked"
            hosts.every(connection)
            tasks.add(connection, a_task(id="t2"))
        premises.schemas.ensure("h2")


def test_messages_between_others_are_not_heard(
    premises: Premises, attacker: psycopg.Connection[tuple[Any, ...]]
) -> None:
    known = ("cachewright_calls", "cachewright_tasks", "cachewright_changes", "dbos_notifications_channel")
    for channel in (*known, "dbos_workflow_events_channel", "dbos_streams_channel", calls_channel(REPORT.release)):
        attacker.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
    with psycopg.connect(premises.owner_url, autocommit=True) as server:
        for channel in (*server_channels(premises.database), calls_channel(KEY_OF_H3)):
            server.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
        with premises.database.write() as connection:
            tasks.add(connection, a_task(id="t3"))
        announce_task(premises.database, "t3")
        notify_agent(premises.database, KEY_OF_H3)
        heard = list(server.notifies(timeout=10, stop_after=3))
        queries = attacker.execute("SELECT query FROM pg_stat_activity WHERE usename = %s", (premises.h2.owner,))
        assert {row[0] for row in queries} == {"<insufficient privilege>"}
    assert sorted(message.payload for message in heard) == ["", "t3", "t3 i"]
    attacker.execute("SELECT 1")
    assert not select.select([attacker.fileno()], [], [], 0)[0]
    assert list(attacker.notifies(timeout=0)) == []


def test_a_session_with_the_name_of_a_server_stops_no_takeover(premises: Premises) -> None:
    first, second = new_session_name(), new_session_name()
    ended: list[str] = []
    now = 1000.0

    def claim(server_id: str, session: str, database: PostgresDatabase) -> LeasedClaim:
        return LeasedClaim(database, server_id, session, end_process=ended.append, clock=lambda: now)

    with psycopg.connect(premises.url, autocommit=True, application_name=first) as session:
        with closing(opened(premises.owner_url, first)) as database:
            assert isinstance(database, PostgresDatabase)
            assert claim("a", first, database).try_take()
        assert isinstance(premises.database, PostgresDatabase)
        successor = claim("b", second, premises.database)
        assert not successor.try_take()
        now += 60
        assert successor.try_take()
        assert session.execute("SELECT 1").fetchone() == (1,)
    with premises.database.read() as connection:
        assert server_claims.get(connection).session == second


def test_the_agent_does_its_work_with_its_rights(premises: Premises) -> None:
    with _records(premises, "h2") as records:
        assert records.has_own_role
        assert records.schema == premises.h2.name
        records.require_host()
        assert records.is_recorded("nodes", "b" * 40)
        assert not records.is_recorded("nodes", "3" * 40)
        assert records.may_run_sentinels()
        assert records.sentinels() == []
        assert not records.is_recorded("sentinels", "s")
        assert records.epoch() >= 0
        assert records.stale() == ["s2"]
        assert not records.store("10.0.0.2", REPORT), "it has a node to delete"
        assert not records.is_given_up()
        assert _report_of(premises, "h2") != REPORT
        records.deleted("s2")
        records.deleted("s3")
        assert records.store("10.0.0.2", REPORT)
        assert _report_of(premises, "h2") == REPORT
    with premises.database.read() as connection:
        assert stale_nodes.host_names(connection) == {"h3"}
    with _records(premises, "h3") as other, pytest.raises(DatabaseNotReady, match="no host h3 for this role"):
        other.require_host()


def _report_of(premises: Premises, host: str) -> HostReport | None:
    with premises.database.read() as connection:
        record = hosts.get(connection, host)
    assert record
    return record.report


def test_a_role_without_rights_is_told(premises: Premises) -> None:
    with psycopg.connect(premises.admin, autocommit=True) as connection:
        name = sql.Identifier(premises.h2.name)
        connection.execute(sql.SQL("REVOKE SELECT ON {}.hosts FROM {}").format(name, name))
    with _records(premises, "h2") as records, pytest.raises(DatabaseNotReady, match="cachewright hosts grant h2"):
        records.require_host()
    with premises.database.write() as connection:
        run_for_role(connection, grant(connection, premises.h2, None))
    with _records(premises, "h2") as records:
        records.require_host()


def test_calls_reach_the_schema_of_their_host_and_are_deleted_there(premises: Premises) -> None:
    calls = HostCalls(premises.database, "1")
    try:
        call_id = calls.queue("h2", _report("key")).enqueue("n", "sealed")
        with premises.attacker() as own:
            found = own.execute(
                "SELECT queue_name FROM workflow_status WHERE workflow_uuid = %s", (call_id,)
            ).fetchall()
            assert found == [("host h2",)]
            own.execute("UPDATE workflow_status SET status = 'SUCCESS', completed_at = 1")
        with psycopg.connect(premises.owner_url) as server:
            assert server.execute("SELECT count(*) FROM dbos.workflow_status").fetchone() == (0,)
        calls.forget(["h2", "h3"])
        with premises.attacker() as own:
            assert own.execute("SELECT count(*) FROM workflow_status").fetchone() == (0,)
    finally:
        calls.close()


def test_access_ends_with_the_host(premises: Premises) -> None:
    assert premises.schemas.remove_unused() == []
    session = premises.attacker()
    with premises.database.write() as connection:
        stale_nodes.deleted(connection, ["s2"])
        instances.remove_nodes(connection, ["b" * 40])
        assert hosts.remove(connection, "h2")
    assert premises.schemas.sessions("h2") == 1
    assert premises.schemas.remove_unused() == []
    with pytest.raises(psycopg.OperationalError):
        session.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError):
        premises.attacker()
    with premises.database.read() as connection:
        assert not has_role(connection, premises.h2.name)
        assert has_role(connection, premises.h3.name)
    with premises.database.write() as connection:
        hosts.remove(connection, "h3")
    assert premises.schemas.remove_unused() == []
    with premises.database.read() as connection:
        assert has_role(connection, premises.h3.name), "it has to delete a node"


@contextmanager
def _records(premises: Premises, host: str) -> Iterator[AgentRecords]:
    with closing(opened(premises.url)) as database:
        assert isinstance(database, PostgresDatabase)
        yield AgentRecords(database, host)
