"""Which hosts have traffic that others can read, as commands, the API and metrics say it."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from cachewright.cli.doctor.machines import check_hosts
from cachewright.config import Settings
from cachewright.model.hosts import EMBEDDED, HostRecord
from cachewright.model.instances import Node
from cachewright.services.host_traffic import traffic
from cachewright.store import hosts, instances
from cachewright.store.database import Database
from cachewright.store.opening import open_database
from database_fixtures import a_report, an_instance
from standalone_node import node_at


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path)


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    opened = open_database(settings)
    yield opened
    opened.close()


def reports(database: Database, *names: str) -> None:
    """Add hosts, and let these, and the server's own, report that their valkey-server has TLS."""
    with database.write() as connection:
        for name in ("h2", "h3"):
            hosts.add(connection, HostRecord(name=name, address="", zone="z", state="active", created_at=1))
        for number, name in enumerate((EMBEDDED, "h2", "h3")):
            report = a_report(tls=name in names)
            hosts.saw(connection, name, f"10.0.0.{number}", report)


def node(number: int, host_name: str, *, tls: bool) -> Node:
    placed: Node = msgspec.structs.replace(
        node_at(7000 + number, 8000 + number),
        id=str(number) * 40,
        host_name=host_name,
        tls_port=9000 + number if tls else None,
    )
    return placed


def shown(database: Database) -> dict[str, str]:
    with database.read() as connection:
        return {name: of_host.shown for name, of_host in traffic(connection, hosts.every(connection)).items()}


def findings(settings: Settings) -> list[tuple[str, str]]:
    return [(found.state, found.message) for found in check_hosts(settings) if found.name == "traffic"]


def test_one_machine_has_no_traffic_between_hosts(database: Database, settings: Settings) -> None:
    assert shown(database) == {}
    assert findings(settings) == []


def test_hosts_without_tls_and_nodes_without_it_are_named(database: Database, settings: Settings) -> None:
    reports(database, EMBEDDED, "h2")
    own = [node(1, EMBEDDED, tls=False), node(2, "h2", tls=False), node(3, "h2", tls=False)]
    secured = msgspec.structs.replace(node(4, "h2", tls=True), instance_id="j")
    alone = msgspec.structs.replace(node(5, EMBEDDED, tls=False), instance_id="k")
    with database.write() as connection:
        for number, instance_id in enumerate("ijk"):
            instances.add(connection, an_instance(id=instance_id, name=instance_id, seed_port=7100 + number))
        instances.add_nodes(connection, [*own, secured, alone])
    expected = {
        EMBEDDED: "plain for 1 of 1 nodes",
        "h2": "plain for 2 of 3 nodes",
        "h3": "plain: valkey-server has no TLS",
    }
    assert shown(database) == expected
    assert sorted(findings(settings)) == sorted(("warn", f"host {name}: {text}") for name, text in expected.items())


def test_encrypted_traffic_is_said_too(database: Database, settings: Settings) -> None:
    reports(database, EMBEDDED, "h2", "h3")
    with database.write() as connection:
        instances.add(connection, an_instance())
        instances.add_nodes(connection, [node(1, "h2", tls=True), node(2, "h3", tls=True)])
    assert set(shown(database).values()) == {"encrypted"}
    assert findings(settings) == [("ok", "encrypted between all hosts")]


def test_nodes_that_cannot_start_again_are_a_failure(database: Database, settings: Settings) -> None:
    reports(database, EMBEDDED, "h3")
    with database.write() as connection:
        instances.add(connection, an_instance())
        instances.add_nodes(connection, [node(1, "h2", tls=True), node(2, "h3", tls=True)])
    lost = "1 nodes have TLS, which valkey-server no longer has: they cannot start again"
    assert shown(database) == {EMBEDDED: "encrypted", "h2": lost, "h3": "encrypted"}
    assert findings(settings) == [("fail", f"host h2: {lost}")]
