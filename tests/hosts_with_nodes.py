"""A cluster whose nodes are on two hosts, as records."""

from typing import Any

import msgspec

from cachewright.model.hosts import EMBEDDED, HostReport
from cachewright.model.instances import Node
from cachewright.model.sentinels import Sentinel
from database_fixtures import an_instance

GB = 2**30
REPORT = HostReport(release="1", cpus=1, memory=64 * GB, memory_free=64 * GB, disk_free=64 * GB)
INSTANCE = an_instance(status="RUNNING", spec_code="redis.cluster.xu1.large.r2.s1.2", address="127.0.0.1", seed_port=1)

SENTINEL = Sentinel(id="a" * 40, host="127.0.0.2", port=3, secret="", created_at=1, host_name="h2")


def node(number: int, host_name: str, **changed: Any) -> Node:
    plain = Node(
        id=f"{number:040x}",
        instance_id=INSTANCE.id,
        shard=number // 2,
        role="replica" if number % 2 else "primary",
        host="127.0.0.1" if host_name == EMBEDDED else "127.0.0.2",
        port=number + 1,
        bus_port=number + 101,
        maxmemory=GB,
        should_run=True,
        created_at=0,
        host_name=host_name,
    )
    return msgspec.structs.replace(plain, **changed)


NODES = [node(0, EMBEDDED), node(1, "h2"), node(2, EMBEDDED), node(3, "h2")]
