"""Ports for nodes: looked for while nothing is locked, then reserved in one short transaction."""

from collections.abc import Callable, Sequence
from itertools import islice
from typing import TypeVar

import msgspec
import sqlalchemy as sa

from cachewright import errors
from cachewright.config import Settings, show_ports
from cachewright.errors import ApiError
from cachewright.hosts.ports import NodePorts, NoFreePort, free_node_ports, is_free
from cachewright.store import instances
from cachewright.store.database import Database

Stored = TypeVar("Stored")

_TRIES = 5


def reserve(
    database: Database,
    settings: Settings,
    nodes: int,
    store: Callable[[sa.Connection, Sequence[NodePorts]], Stored],
    *,
    tls: bool,
    first: int | None = None,
) -> Stored:
    """Calls `store` in a write transaction with free ports for each node, among them one for TLS between nodes where
    `tls` is set; `first` is the port for clients of the first node where it is given. Returns what `store` does, which
    must write them to the nodes' rows.

    Whether a port is free is found by binding a socket, thousands of them for large requests: no other change waits for
    that. Ports that another request has stored meanwhile are noticed in the transaction, and others are looked for.

    ApiError DCS.4062 where `first` is taken or is one of those that only nodes connect to, DCS.4039 where there are not
    enough ports.
    """
    with database.read() as connection:
        taken = instances.taken_ports(connection, settings.node_host)
    for _ in range(_TRIES):
        ports = _find(settings, taken, nodes, tls=tls, first=first)
        with database.write() as connection:
            taken = instances.taken_ports(connection, settings.node_host)
            if all(taken.isdisjoint(own.every) for own in ports):
                return store(connection, ports)
    raise ApiError(errors.LIMIT_EXCEEDED, reason="other requests took the ports that were found; ask again")


def _find(settings: Settings, taken: set[int], nodes: int, *, tls: bool, first: int | None) -> list[NodePorts]:
    if first is not None:
        _require_free(settings, taken, first)
    others = taken if first is None else taken | {first}
    found = free_node_ports(settings.node_host, settings.node_ports, settings.bus_ports, others, tls=tls)
    try:
        ports = list(islice(found, nodes))
    except NoFreePort as none:
        raise ApiError(errors.LIMIT_EXCEEDED, reason=f"ports for {nodes} nodes needed, {none}") from none
    return ports if first is None else [msgspec.structs.replace(ports[0], client=first), *ports[1:]]


def _require_free(settings: Settings, taken: set[int], port: int) -> None:
    if port in range(*settings.bus_ports):
        reason = f"{port} is one of {show_ports(settings.bus_ports)}, which are for the cluster bus"
        raise ApiError(errors.INVALID_PARAMETER, parameter="port", reason=reason)
    if port in taken or not is_free(settings.node_host, port):
        raise ApiError(errors.INVALID_PARAMETER, parameter="port", reason=f"{port} is taken")
