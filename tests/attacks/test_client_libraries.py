"""Client libraries of other vendors work with what the user `default` may do: their handshakes, and a write and a read.

The handshakes of libraries that are not installed here are repeated as the commands that they send when they connect.
"""

from collections.abc import Iterator
from typing import Any

import pytest
import redis
from glide import GlideClusterClient, GlideClusterClientConfiguration, NodeAddress, ServerCredentials
from huaweicloudsdkdcs.v2 import DeleteSingleInstanceRequest
from valkey import Valkey
from valkey.asyncio.cluster import ValkeyCluster as AsyncValkeyCluster

from sdk_calls import PASSWORD, created, show


@pytest.fixture(scope="module")
def address(client: Any) -> Iterator[tuple[str, int]]:
    instance_id = created(client, copies=2)
    shown = show(client, instance_id)
    yield shown.ip, shown.port
    client.delete_single_instance(DeleteSingleInstanceRequest(instance_id=instance_id))


def test_valkey_py(address: tuple[str, int]) -> None:
    host, port = address
    with Valkey(host=host, port=port, password=PASSWORD, protocol=3) as node:
        assert node.ping()


async def test_valkey_py_async(address: tuple[str, int]) -> None:
    host, port = address
    async with AsyncValkeyCluster(host=host, port=port, password=PASSWORD) as caches:
        await caches.set("async", "1")
        assert await caches.get("async") == b"1"


@pytest.mark.parametrize("protocol", [2, 3])
def test_redis_py(address: tuple[str, int], protocol: int) -> None:
    host, port = address
    with redis.RedisCluster(host=host, port=port, password=PASSWORD, protocol=protocol) as caches:
        for number in range(50):
            caches.set(f"redis-py:{number}", number)
        assert caches.get("redis-py:7") == b"7"
        assert caches.pipeline().set("{a}1", 1).get("{a}1").execute() == [True, b"1"]


async def test_valkey_glide(address: tuple[str, int]) -> None:
    host, port = address
    configuration = GlideClusterClientConfiguration(
        [NodeAddress(host, port)], credentials=ServerCredentials(PASSWORD), client_name="glide", request_timeout=5000
    )
    caches = await GlideClusterClient.create(configuration)
    try:
        for number in range(50):
            await caches.set(f"glide:{number}", str(number))
        assert await caches.get("glide:7") == b"7"
    finally:
        await caches.close()


HANDSHAKES = {
    "ioredis": ["AUTH {password}", "INFO", "CLIENT SETNAME ioredis", "CLUSTER SLOTS", "READONLY"],
    "node-redis": ["HELLO 3 AUTH default {password}", "CLIENT SETINFO LIB-NAME node-redis", "CLUSTER SLOTS", "ASKING"],
    "jedis": ["AUTH {password}", "CLIENT SETINFO lib-name jedis", "CLUSTER SLOTS", "CLUSTER SHARDS", "READONLY"],
    "lettuce": ["HELLO 3 AUTH default {password}", "CLUSTER MYID", "CLUSTER NODES", "INFO clients", "CLIENT LIST"],
    "go-redis": ["HELLO 3", "COMMAND", "CLUSTER SLOTS", "CLUSTER SHARDS", "INFO", "READONLY", "ROLE"],
    "redisson": ["AUTH {password}", "CLUSTER NODES", "INFO replication", "PUBSUB NUMSUB channel", "WAIT 0 0"],
    "stackexchange.redis": ["AUTH {password}", "CLIENT SETNAME host", "ECHO mark", "INFO replication", "CLUSTER NODES"],
    "hiredis-cluster": ["AUTH {password}", "CLUSTER SLOTS", "CLUSTER NODES"],
    "redis-cli": ["COMMAND DOCS", "CLUSTER INFO", "CLUSTER COUNTKEYSINSLOT 0", "CLIENT TRACKINGINFO", "MEMORY STATS"],
}


@pytest.mark.parametrize("library", HANDSHAKES)
def test_handshakes_of_other_libraries(address: tuple[str, int], library: str) -> None:
    host, port = address
    with Valkey(host=host, port=port, password=PASSWORD, single_connection_client=True) as node:
        node.response_callbacks.clear()
        for command in HANDSHAKES[library]:
            assert node.execute_command(*command.format(password=PASSWORD).split(" ")) is not None, command
