"""Whitelists of clusters: which are accepted, and that nothing is served before the rules are loaded."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from cachewright.errors import ApiError
from cachewright.hosts.client_firewall import Filtered, FirewallFailed
from cachewright.model.instances import Instance
from cachewright.operations.client_access import CHANGE_WHITELIST, WhitelistRequest
from cachewright.operations.client_firewall import ensure
from cachewright.operations.context import OperationContext
from cachewright.store import instances
from cachewright.valkey.client_addresses import from_others
from database_fixtures import an_instance, new_database
from network_namespace import run_in_namespace
from sdk_calls import spec
from standalone_node import node_at

GROUP = {"group_name": "shop", "ip_list": ["10.0.0.0/8", "10.1.0.0/16"]}
NODE = msgspec.structs.replace(node_at(12000), host="10.0.0.5")


def a_cluster(*, enabled: bool = True) -> Instance:
    attributes = {"enable_whitelist": enabled, "whitelist": [GROUP]}
    return an_instance(id="i", spec_code=spec(1), attributes=attributes)


def test_clients_of_a_cluster_are_filtered(tmp_path: Path) -> None:
    run_in_namespace(Path(__file__).with_name("filtered_clients.py"), tmp_path / "data")


@pytest.mark.parametrize(
    ("has_firewall", "host_name", "reason"),
    [(False, "local", "nftables is off: start the server with --nftables"), (True, "h2", "runs on host h2")],
)
def test_a_whitelist_that_cannot_be_enforced_is_refused(has_firewall: bool, host_name: str, reason: str) -> None:
    node = msgspec.structs.replace(NODE, host_name=host_name)
    request = WhitelistRequest(enabled=True, has_haproxy=True, has_firewall=has_firewall)
    with pytest.raises(ApiError, match=reason) as refused:
        CHANGE_WHITELIST.validate(a_cluster(enabled=False), [node], request)
    assert refused.value.code == "DCS.4062"


@pytest.mark.parametrize("enabled", [True, False])
def test_a_change_knows_whether_one_was_on(enabled: bool) -> None:
    request = WhitelistRequest(enabled=True, has_haproxy=False, has_firewall=True)
    assert CHANGE_WHITELIST.validate(a_cluster(enabled=enabled), [NODE], request).params.before is enabled


async def test_a_node_gets_no_clients_without_the_rules(tmp_path: Path) -> None:
    """A server that was started without --nftables leaves the ports of filtered nodes closed."""
    host: Any = SimpleNamespace(client_firewall=None)
    context: Any = OperationContext(new_database(tmp_path), None, host, None)  # type: ignore[arg-type]  # not used
    with pytest.raises(FirewallFailed, match="nftables is off"):
        await context.open_port(a_cluster(), NODE)


async def test_rules_are_those_of_the_record(tmp_path: Path) -> None:
    database = new_database(tmp_path)
    with database.write() as connection:
        instances.add(connection, a_cluster())
        instances.add(connection, msgspec.structs.replace(a_cluster(enabled=False), id="off"))
        ha = msgspec.structs.replace(a_cluster(), id="ha", spec_code="redis.ha.xu1.large.r2.1")
        instances.add(connection, ha)
        instances.add_nodes(connection, [NODE, msgspec.structs.replace(NODE, id="c" * 40, port=12001, bus_port=2)])
    read: list[Filtered] = []
    firewall = SimpleNamespace(ensure=lambda wanted: read.extend(wanted()))
    host: Any = SimpleNamespace(client_firewall=firewall)
    await ensure(database, host)
    assert read == [Filtered("10.0.0.5", (12000, 12001), ("10.0.0.0/8", "10.1.0.0/16"))]


def test_connections_from_other_addresses_are_found() -> None:
    rows = [{"addr": addr} for addr in ("10.0.0.7:50000", "192.168.0.1:1", "[::1]:5", "", "/run/valkey.sock:0")]
    assert [row["addr"] for row in from_others(rows, ["10.0.0.0/8"])] == ["192.168.0.1:1", "[::1]:5"]
