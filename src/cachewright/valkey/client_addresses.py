"""Close connections of clients by the addresses that they come from.

Source: CLIENT LIST and CLIENT KILL of Valkey 9.1.
"""

import ipaddress
from collections.abc import Iterable, Mapping, Sequence

from cachewright.model.instances import Node
from cachewright.valkey.access import Access
from cachewright.valkey.client import ask, connect
from cachewright.valkey.client_drain import client_connections, kill, knows_by_name


async def close_others(node: Node, access: Access, allowed: Sequence[str]) -> int:
    """Close the connections of clients from other addresses than these networks. Return their number. Raises one of
    NODE_GONE or NodeRefused."""
    async with connect(node, access) as client:
        others = from_others(await ask(client, "CLIENT LIST"), allowed)
        found = client_connections(others, by_name=knows_by_name(node))
        return await kill(client, [connection.id for connection in found])


def from_others(rows: Iterable[Mapping[str, str]], allowed: Sequence[str]) -> list[Mapping[str, str]]:
    """Return the rows of CLIENT LIST with an address outside of these networks. Those of Unix sockets have none."""
    networks = [ipaddress.ip_network(network) for network in allowed]
    found = []
    for row in rows:
        try:
            address = ipaddress.ip_address(row["addr"].rpartition(":")[0].strip("[]"))
        except ValueError:
            continue
        if not any(address in network for network in networks):
            found.append(row)
    return found
