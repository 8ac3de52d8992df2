"""Nodes with TLS are placed on hosts whose valkey-server has it."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from cachewright.errors import ApiError
from cachewright.model.hosts import EMBEDDED, HostRecord
from cachewright.operations import node_placement
from cachewright.placement.capacity import HostLimits, Limits
from cachewright.store import hosts
from cachewright.store.database import Database
from database_fixtures import new_database
from standalone_node import node_at

LIMITS = Limits(
    host_memory=0,
    overcommit=1.0,
    disk_free=0,
    ports=0,
    quota_instances=0,
    quota_nodes=0,
    quota_memory=0,
    hosts={
        EMBEDDED: HostLimits(address="10.0.0.1", memory=2**40, disk_free=1, ports=99, tls=True),
        "h2": HostLimits(address="10.0.0.2", memory=2**50, disk_free=1, ports=99),
    },
)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = new_database(tmp_path)
    with made.write() as connection:
        hosts.add(connection, HostRecord(name="h2", address="10.0.0.2", zone="az2", state="active", created_at=1))
    yield made
    made.close()


def test_only_hosts_with_tls_get_nodes_that_have_it(database: Database) -> None:
    new = [node_at(1)]
    with database.read() as connection:
        (anywhere,) = node_placement.place(connection, LIMITS, new, ())
        (secured,) = node_placement.place(connection, LIMITS, new, (), tls=True)
    assert (anywhere.host_name, secured.host_name) == ("h2", EMBEDDED), "h2 has more memory, and no TLS"


@pytest.mark.parametrize("asked", ["zone", "host"])
def test_a_host_without_tls_is_named_in_the_refusal(database: Database, asked: str) -> None:
    zones, target = (["az2"], None) if asked == "zone" else ([], "h2")
    with database.read() as connection, pytest.raises(ApiError) as refused:
        node_placement.place(connection, LIMITS, [node_at(1)], zones, target=target, tls=True)
    assert refused.value.code == "DCS.4036"
    assert "takes new nodes; the nodes have TLS, which valkey-server does not have on h2" in refused.value.message


def test_a_host_of_another_zone_is_not_blamed(database: Database) -> None:
    with database.write() as connection:
        hosts.change(connection, EMBEDDED, state="cordoned")
    with database.read() as connection, pytest.raises(ApiError) as refused:
        node_placement.place(connection, LIMITS, [node_at(1)], ["local"], tls=True)
    assert "TLS" not in refused.value.message


def test_a_zone_whose_hosts_are_lost_binds_no_node(database: Database) -> None:
    """Otherwise what was on the only host of a zone could not be made again."""
    away = msgspec.structs.replace(LIMITS, hosts={EMBEDDED: LIMITS.hosts[EMBEDDED]})
    with database.read() as connection, pytest.raises(ApiError, match="no host in zone az2 takes new nodes"):
        node_placement.place(connection, away, [node_at(1)], ["az2"])
    with database.write() as connection:
        hosts.change(connection, "h2", state="lost")
    with database.read() as connection:
        (placed,) = node_placement.place(connection, away, [node_at(1)], ["az2"])
    assert placed.host_name == EMBEDDED
