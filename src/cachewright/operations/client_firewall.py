"""Whitelists of clusters, which nftables rules of the host enforce.

The rules follow the record. A node of such a cluster gets no clients before the rules cover it.
"""

from collections import defaultdict
from collections.abc import Sequence

import sqlalchemy as sa

from cachewright.hosts.client_firewall import Filtered, FirewallFailed
from cachewright.hosts.host import Host
from cachewright.model.instances import WHITELIST_ENABLED, Instance, allowed_addresses
from cachewright.store import instances
from cachewright.store.database import Database
from cachewright.threads import in_background
from cachewright.topologies import topology_of

OFF = "nftables is off: start the server with --nftables"


def is_filtered(instance: Instance) -> bool:
    """Whether the instance is a cluster whose whitelist is on. Its nodes are on the host of the server."""
    return topology_of(instance.spec_code).is_cluster and allowed_addresses(instance) is not None


async def ensure(database: Database, host: Host) -> None:
    """Ensure that the rules of the host are those of the record. Raises FirewallFailed."""
    firewall = host.client_firewall
    if firewall is None:
        raise FirewallFailed(OFF)
    await in_background(firewall.ensure, lambda: _recorded(database))


def filtered_instances(database: Database) -> list[Instance]:
    """Return all clusters whose whitelist is on. Blocks."""
    with database.read() as connection:
        return _filtered(connection)


def _filtered(connection: sa.Connection) -> list[Instance]:
    return [found for found in instances.with_attribute(connection, WHITELIST_ENABLED) if is_filtered(found)]


def _recorded(database: Database) -> Sequence[Filtered]:
    filtered = []
    with database.read() as connection:
        for instance in _filtered(connection):
            ports: defaultdict[str, list[int]] = defaultdict(list)
            for node in instances.nodes_of(connection, instance.id):
                ports[node.host].append(node.port)
            allowed = allowed_addresses(instance) or ()
            filtered += [Filtered(address, tuple(sorted(own)), allowed) for address, own in sorted(ports.items())]
    return filtered
