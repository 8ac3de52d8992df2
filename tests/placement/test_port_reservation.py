"""Ports are found while nothing is locked, and no port is given twice."""

import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cachewright.config import Settings
from cachewright.errors import ApiError
from cachewright.flavors import parse
from cachewright.hosts.local import LocalHost
from cachewright.hosts.ports import NodePorts
from cachewright.model.instances import Node
from cachewright.placement import port_reservation
from cachewright.store import instances
from cachewright.store.database import Database
from cachewright.store.opening import open_database
from cachewright.topologies import layout
from sdk_calls import spec


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with closing(open_database(Settings(data_dir=tmp_path))) as made:
        yield made


def ports_of(node: Node) -> tuple[int, int]:
    return node.port, node.bus_port


def store(
    database: Database, settings: Settings, nodes: int, first: int | None = None, host: LocalHost | None = None
) -> list[Node]:
    """Reserves ports for nodes of a new instance."""
    new = layout.new_nodes(settings, f"i{nodes}{first}", parse(spec(nodes)))

    def add(connection: Any, ports: Any) -> list[Node]:
        placed = layout.placed(new, ports)
        instances.add_nodes(connection, placed)
        return placed

    found = host or LocalHost(settings)
    return port_reservation.reserve(database, found, settings, [found.address] * nodes, add, tls=False, first=first)


def test_the_database_takes_changes_while_ports_are_looked_for(tmp_path: Path, database: Database) -> None:
    written = []

    class WritingMeanwhile(LocalHost):
        def find_ports(self, *arguments: Any, tls: bool) -> list[NodePorts]:
            found = super().find_ports(*arguments, tls=tls)
            with database.write():
                written.extend(port for ports in found for port in ports.numbers)
            return found

    settings = Settings(data_dir=tmp_path)
    stored = store(database, settings, 3, host=WritingMeanwhile(settings))
    assert [port for node in stored for port in ports_of(node)] == written


def test_ports_that_are_reserved_meanwhile_are_not_given_twice(tmp_path: Path, database: Database) -> None:
    settings = Settings(data_dir=tmp_path)
    others: list[Node] = []

    class BeatenOnce(LocalHost):
        def find_ports(self, *arguments: Any, tls: bool) -> list[NodePorts]:
            found = super().find_ports(*arguments, tls=tls)
            if not others:
                others.extend(layout.placed(layout.new_nodes(settings, "other", parse(spec(1))), found[:1]))
                with database.write() as connection:
                    instances.add_nodes(connection, others)
            return found

    stored = store(database, settings, 3, host=BeatenOnce(settings))
    assert others
    assert not {port for node in stored for port in ports_of(node)} & set(ports_of(others[0]))


def test_a_range_without_a_free_port_is_a_refusal(tmp_path: Path, database: Database) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = Settings(data_dir=tmp_path, node_ports=(port, port + 1))
        with pytest.raises(ApiError, match=r"DCS\.4039"):
            store(database, settings, 1)
        wide = Settings(data_dir=tmp_path)
        assert store(database, wide, 1, port)[0].host != "127.0.0.1", "another program has the port there"
        with pytest.raises(ApiError, match=r"DCS\.4062"):
            store(database, wide, 1, wide.bus_ports[0])


def test_ports_of_several_instances_are_different_on_a_host_that_they_share(tmp_path: Path, database: Database) -> None:
    class Lowest(LocalHost):
        def find_ports(self, address: str, count: int, taken: Any, *, tls: bool) -> list[NodePorts]:
            free = (port for port in range(30000, 31000) if port not in taken)
            return [NodePorts(next(free), next(free), None, address) for _ in range(count)]

        def is_port_free(self, address: str, port: int) -> bool:
            return True

    settings = Settings(data_dir=tmp_path)
    found = port_reservation.reserve(
        database,
        Lowest(settings),
        settings,
        ["127.0.0.1", "10.0.0.2", "127.0.0.1", "10.0.0.2"],
        lambda _, ports: list(ports),
        tls=False,
        first=25000,
        instances_of_first=2,
    )
    numbers = [(ports.address, number) for ports in found for number in ports.numbers]
    assert len(set(numbers)) == 8
    assert [ports.client for ports in found][::2] == [25000, 25000]
    assert [ports.address for ports in found] == ["127.0.0.1", "10.0.0.2", "127.0.1.1", "10.0.0.2"]
