"""What `cachewright doctor` says of servers, hosts and nodes on other hosts."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa

import cachewright
from cachewright.cli.doctor import records
from cachewright.cli.doctor.finding import Finding
from cachewright.cli.doctor.machines import check_hosts, check_reach, check_servers
from cachewright.cli.doctor.resources import check_allocated
from cachewright.config import Settings
from cachewright.errors import DatabaseUnavailable
from cachewright.hosts.resources import total_memory
from cachewright.model.hosts import HostRecord
from cachewright.model.servers import ServerRecord
from cachewright.store import hosts, instances, server_records
from cachewright.store.opening import open_database, open_in_use
from cachewright.store.sqlite import SqliteDatabase
from database_fixtures import a_report, an_instance
from standalone_node import node_at, nowhere


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path)


@pytest.fixture
def database(settings: Settings) -> Iterator[SqliteDatabase]:
    opened = open_database(settings)
    assert isinstance(opened, SqliteDatabase)
    yield opened
    opened.close()


def host(name: str, seen_at: int | None, *running: str) -> HostRecord:
    processes = dict.fromkeys(running, (1, 1.0))
    report = a_report(processes=processes)
    return HostRecord(
        name=name, address="127.0.0.2", zone="z", state="active", created_at=1, seen_at=seen_at, report=report
    )


def server(name: str, release: str, seen_at: int) -> ServerRecord:
    return ServerRecord(id=name, machine=name, pid=7, release=release, listen="l", started_at=seen_at, seen_at=seen_at)


def findings_of_hosts(settings: Settings) -> list[Finding]:
    """Without those on their traffic."""
    return [found for found in check_hosts(settings) if found.name == "hosts"]


def test_servers_that_do_not_report_or_have_another_release_are_named(
    settings: Settings, database: SqliteDatabase
) -> None:
    assert list(check_servers(settings)) == []
    with database.write() as connection:
        now = server_records.now(connection)
        server_records.saw(connection, server("m1", cachewright.__version__, now))
        server_records.saw(connection, server("m2", "0.0.1", now))
        server_records.saw(connection, server("m3", cachewright.__version__, now - 60_000))
    found = list(check_servers(settings))
    assert [finding.state for finding in found] == ["warn", "warn", "ok"]
    assert "the server on m2 is 0.0.1" in found[0].message
    assert "m3 (pid 7) has not reported for 6" in found[1].message
    assert "tasks are performed on m1" in found[2].message


def test_hosts_that_do_not_report_are_named(settings: Settings, database: SqliteDatabase) -> None:
    with database.write() as connection:
        now = server_records.now(connection)
        for record in (host("h2", now), host("h3", now - 60_000), host("h4", None)):
            hosts.add(connection, record)
    silent, never, all_hosts = findings_of_hosts(settings)
    assert "host h3 has not reported for 6" in silent.message
    assert never.message == "host h4 has never reported"
    assert "--host h4" in never.remedy
    assert (silent.state, never.state, all_hosts.state) == ("warn", "warn", "ok")


def test_the_clock_of_a_host_is_converted(settings: Settings, database: SqliteDatabase) -> None:
    """It is an hour behind that of the database."""
    with database.write() as connection:
        record = host("h2", server_records.now(connection) - 3600_000)
        assert record.report
        report = msgspec.structs.replace(record.report, clock_offset=3600.0)
        hosts.add(connection, msgspec.structs.replace(record, report=report))
    (found,) = findings_of_hosts(settings)
    assert found.state == "ok"


def test_nodes_that_cannot_be_reached_are_counted(settings: Settings, database: SqliteDatabase) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        reached = msgspec.structs.replace(node_at(listening.getsockname()[1]), id="a", host_name="h2")
        refused = msgspec.structs.replace(nowhere(), id="b", host_name="h2")
        ended = msgspec.structs.replace(nowhere(), id="c", host_name="h2")
        with database.write() as connection:
            now = server_records.now(connection)
            hosts.add(connection, host("h2", now, "a"))
            hosts.add(connection, host("h3", now - 60_000, "d"))
            instances.add(connection, an_instance())
            instances.add_nodes(connection, [reached, refused, ended])
        (found,) = check_reach(settings)
        assert (found.state, found.message) == ("ok", "the 1 nodes that run on host h2 accept connections")
        with database.write() as connection:
            hosts.saw(connection, "h2", "127.0.0.2", host("h2", now, "a", "b").report or pytest.fail("no report"))
        (found,) = check_reach(settings)
    assert found.state == "warn"
    assert "1 of the 2 nodes that run on host h2" in found.message
    assert "Connection refused" in found.message


def test_memory_is_compared_with_that_of_the_host_of_the_nodes(settings: Settings, database: SqliteDatabase) -> None:
    most = total_memory()
    large = a_report(memory=8 * most)
    with database.write() as connection:
        for name, report in (("h2", large), ("h3", a_report()), ("h4", None)):
            record = HostRecord(name=name, address="127.0.0.2", zone="z", state="active", created_at=1, report=report)
            hosts.add(connection, record)
        instances.add(connection, an_instance())
        own = msgspec.structs.replace(nowhere(), id="a", maxmemory=2**20)
        grown = msgspec.structs.replace(nowhere(), id="b", maxmemory=2 * most, host_name="h2", port=2)
        full = msgspec.structs.replace(nowhere(), id="c", maxmemory=2 * most, host_name="h3", port=3)
        instances.add_nodes(connection, [own, grown, full])
    here, roomy, small = check_allocated(settings)
    assert (here.state, roomy.state, small.state) == ("ok", "ok", "warn")
    assert "allocated to 1 nodes, the host has" in here.message
    assert "allocated to 1 nodes, host h2 has" in roomy.message
    assert f"host h3 has {a_report().memory / 2**30:.1f} GB" in small.message


@pytest.mark.parametrize("check", [check_servers, check_hosts, check_reach, check_allocated])
@pytest.mark.parametrize("lost", ["at the begin", "at the end"])
def test_a_database_that_is_lost_after_it_was_opened_is_no_error(
    settings: Settings,
    database: SqliteDatabase,
    monkeypatch: pytest.MonkeyPatch,
    *,
    check: Callable[[Settings], Iterator[Finding]],
    lost: str,
) -> None:
    opened = open_in_use(settings)

    @contextmanager
    def read() -> Iterator[sa.Connection]:
        if lost == "at the begin":
            raise DatabaseUnavailable("it is gone")
        with SqliteDatabase.read(opened) as connection:
            yield connection
            raise DatabaseUnavailable("it is gone")

    monkeypatch.setattr(opened, "read", read)
    monkeypatch.setattr(records, "open_in_use", lambda _: opened)
    assert list(check(settings)) == []
