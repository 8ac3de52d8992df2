"""Reserve ports for nodes: find free ports without a lock, then store them in one short transaction."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec
import sqlalchemy as sa

from cachewright import errors
from cachewright.config import Settings, show_ports
from cachewright.errors import ApiError
from cachewright.hosts.host import Host
from cachewright.hosts.ports import NodePorts, NoFreePort
from cachewright.store import instances
from cachewright.store.database import Database

Stored = TypeVar("Stored")

_TRIES = 5


def reserve(
    database: Database,
    host: Host,
    settings: Settings,
    nodes: int,
    store: Callable[[sa.Connection, Sequence[NodePorts]], Stored],
    *,
    tls: bool,
    first: int | None = None,
) -> Stored:
    """Call `store` in a write transaction with free ports for each node, and return its result. `store` must write the
    ports to the rows of the nodes.

    For large requests the host tries thousands of ports. It does so outside the transaction, so that no other change
    has to wait. If another request has stored one of the ports in the meantime, the search starts again.

    :param tls: also reserve a port for TLS between nodes.
    :param first: port for clients of the first node.

    Raises ApiError DCS.4062 if `first` is taken or reserved for the cluster bus, DCS.4039 if there are too few ports.
    """
    with database.read() as connection:
        taken = instances.taken_ports(connection, host.address)
    for _ in range(_TRIES):
        ports = _find(host, settings, taken, nodes, tls=tls, first=first)
        with database.write() as connection:
            taken = instances.taken_ports(connection, host.address)
            if all(taken.isdisjoint(of_node.numbers) for of_node in ports):
                return store(connection, ports)
    raise ApiError(errors.LIMIT_EXCEEDED, reason="other requests took the ports that were found; ask again")


def _find(
    host: Host, settings: Settings, taken: set[int], nodes: int, *, tls: bool, first: int | None
) -> list[NodePorts]:
    if first is not None:
        _require_free(host, settings, taken, first)
    others = taken if first is None else taken | {first}
    try:
        ports = host.find_ports(nodes, others, tls=tls)
    except NoFreePort as error:
        raise ApiError(errors.LIMIT_EXCEEDED, reason=f"ports for {nodes} nodes needed, {error}") from error
    return ports if first is None else [msgspec.structs.replace(ports[0], client=first), *ports[1:]]


def _require_free(host: Host, settings: Settings, taken: set[int], port: int) -> None:
    if port in range(*settings.bus_ports):
        reason = f"{port} is one of {show_ports(settings.bus_ports)}, which are for the cluster bus"
        raise ApiError(errors.INVALID_PARAMETER, parameter="port", reason=reason)
    if port in taken or not host.is_port_free(port):
        raise ApiError(errors.INVALID_PARAMETER, parameter="port", reason=f"{port} is taken")
