"""Sentinels of an installation on several machines, with nodes that only the host of the server reaches."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from test_ha import code, connected, needs_haproxy, primary, process_of

from agents import Hosts
from distant_hosts import distant_hosts
from host_checks import require_machines
from machines import LOCAL
from sdk_calls import created
from serving import until


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    require_machines()
    with distant_hosts(tmp_path, 2) as (_, started):
        yield started


@needs_haproxy
def test_sentinels_are_where_they_reach_all_nodes(hosts: Hosts) -> None:
    """An instance with TLS has its nodes on loopback behind its proxy. It fails over all the same."""
    client = hosts.server.client()
    plain = created(client, 1, spec_code=code(1), capacity=1, name="plain")
    until(lambda: hosts.sentinels() == {LOCAL: 1, "h2": 1, "h3": 1}, "the sentinels are not on three hosts")
    hidden = created(client, 1, spec_code=code(1), capacity=1, name="hidden", enable_ssl=True)
    until(lambda: hosts.sentinels() == {LOCAL: 3}, "the sentinels have not returned")
    former = primary(client, hidden)
    process = process_of(hosts.server, former)
    process.suspend()
    until(lambda: primary(client, hidden) != former, "no failover")
    process.resume()
    until(lambda: connected(client, plain).set("key", "value"), "the other instance serves")
