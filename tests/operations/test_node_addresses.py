"""Addresses of nodes: instances with the same port, and nodes at another address than 127.0.0.1."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huaweicloudsdkdcs.v2 import ListInstancesRequest
from valkey import Valkey

from caches import cache, serves
from cachewright.hosts.ports import free_ports
from sdk_calls import PASSWORD, created, ended, resize, show
from serving import COMMAND, Server, until

HOME = "127.0.0.9"


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Server]:
    """A server whose nodes listen on another loopback address."""
    server = Server(tmp_path / "data", (*COMMAND, "--node-address", HOME))
    server.start()
    yield server
    server.clean_up()


def members(client: Any, instance_id: str) -> list[str]:
    """Addresses of a cluster's nodes, as it tells its clients."""
    shown = show(client, instance_id)
    with Valkey(host=shown.ip, port=shown.port, password=PASSWORD, decode_responses=True) as node:
        return sorted(node.cluster("NODES"))


def test_instances_with_the_same_port_have_addresses_of_their_own(elsewhere: Server) -> None:
    client = elsewhere.client()
    port = next(free_ports(HOME, (24000, 32767), set()))
    single = created(client, spec_code="redis.single.xu1.tiny.128", capacity=0.125, port=port)
    cluster = created(client, 1, copies=2, port=port)
    first, second = show(client, single), show(client, cluster)
    assert (first.ip, first.port, second.port) == (HOME, port, port)
    assert second.ip != HOME
    assert second.ip.startswith("127.")
    found = client.list_instances(ListInstancesRequest(ip=second.ip)).instances
    assert [listed.instance_id for listed in found] == [cluster]

    task_id = resize(client, cluster, 2, copies=2)
    assert ended(client, cluster, task_id).status == "SUCCESS"
    known = members(client, cluster)
    assert len(known) == 4
    assert {address.rpartition(":")[0] for address in known} == {second.ip}
    keys = cache(client, cluster)
    keys.set("key", "of the cluster")
    with Valkey(host=HOME, port=port, password=PASSWORD, decode_responses=True) as node:
        assert node.get("key") is None

    elsewhere.kill()
    for process in elsewhere.nodes():
        process.kill()
    elsewhere.start()
    client = elsewhere.client()
    until(lambda: serves(client, cluster), "the cluster does not serve again")
    assert cache(client, cluster).get("key") == b"of the cluster"
