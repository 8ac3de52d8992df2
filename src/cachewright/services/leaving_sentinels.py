"""Sentinels of a host that is drained: how many are left, and whether another host takes them."""

import sqlalchemy as sa

from cachewright.model.hosts import EMBEDDED
from cachewright.operations.sentinel_places import only_here, sentinel_hosts, watched_nodes
from cachewright.placement.sentinels import taking
from cachewright.services.hosts import require, silent_seconds
from cachewright.store import hosts, sentinels, server_records


def leaving_sentinels(connection: sa.Connection, name: str) -> tuple[int, str]:
    """Return the number of sentinels on a host that is drained, and why they stay there; empty if they move now, or
    soon will. Raises InvalidInput if there is no host of this name."""
    require(connection, name)
    leaving = sentinels.tls_on_host(connection, name)
    obstacles = [_obstacle(connection, name, tls=tls) for tls in sorted(set(leaving.values()))]
    return len(leaving), obstacles[0] if obstacles and all(obstacles) else ""


def _obstacle(connection: sa.Connection, name: str, *, tls: bool) -> str:
    records, now = hosts.every(connection), server_records.now(connection)
    reporting = {host.name for host in records if host.name == EMBEDDED or silent_seconds(host, now) is None}
    if name not in reporting:
        return f"host {name} does not report"
    address = next((host.address for host in records if host.name == EMBEDDED), "")
    together = only_here(address, watched_nodes(connection, tls=tls))
    found = sentinel_hosts(records, address, reporting, tls=tls, together=together)
    if any(other != name for other in taking(found.values(), address)):
        return ""
    if together:
        return "only sentinels on the host of the server reach nodes that listen on loopback behind a proxy"
    able = "has a valkey-server with TLS" if tls else "may run sentinels"
    return f"no other host that takes new nodes reports and {able}"
