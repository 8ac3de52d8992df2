"""Size of the data on a node and presence of clients, for plans of slot migrations."""

from collections.abc import Iterable, Mapping

import msgspec

from cachewright.model.instances import Node
from cachewright.valkey.access import Access
from cachewright.valkey.client import connect
from cachewright.valkey.client_activity import client_activity
from cachewright.valkey.migration.jobs import count_keys, fork_seconds

_BYTES_PER_KEY = 100.0  # assumed for a node without keys
_FORK_SECONDS_PER_BYTE = 25e-12  # assumed for a node that has not forked yet


class NodeLoad(msgspec.Struct, frozen=True):
    """Data and clients of one node.

    :ivar used_memory: bytes.
    :ivar bytes_per_key: average size of a key.
    :ivar keys: number of keys by slot.
    :ivar clients: whether clients are connected.
    :ivar fork: seconds of the node's next fork, as far as is known.
    """

    used_memory: int
    bytes_per_key: float
    keys: Mapping[int, int]
    clients: bool
    fork: float = 0.0


async def measure_load(node: Node, access: Access, slots: Iterable[int]) -> NodeLoad:
    """Measure the load of a node and count the keys in `slots`. Raises one of NODE_GONE or NodeRefused."""
    async with connect(node, access) as client:
        keys = await count_keys(client, slots)
        memory = await client.info("memory")
        total = await client.dbsize()
        clients = (await client_activity(client)).connected > 0
        fork = await fork_seconds(client)
    bytes_per_key = memory["used_memory_dataset"] / total if total else _BYTES_PER_KEY
    used_memory = memory["used_memory"]
    return NodeLoad(used_memory, bytes_per_key, keys, clients, fork or used_memory * _FORK_SECONDS_PER_BYTE)
