"""Reserve ports for nodes: find free ports without a lock, then store them in one short transaction.

All nodes of an instance listen on one address. If an instance needs a port that is taken at the usual address, it gets
another address.
"""

from collections.abc import Callable, Mapping, Sequence
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
_Taken = Mapping[str, set[int]]


def reserve(
    database: Database,
    host: Host,
    settings: Settings,
    nodes: int,
    store: Callable[[sa.Connection, Sequence[NodePorts]], Stored],
    *,
    tls: bool,
    first: int | None = None,
    instances_of_first: int = 1,
    address: str | None = None,
    behind: str | None = None,
) -> Stored:
    """Call `store` in a write transaction with free ports for each node, and return its result. `store` must write the
    ports to the rows of the nodes.

    For large requests the host tries thousands of ports. It does so outside the transaction, so that no other change
    has to wait. If another request has stored one of the ports in the meantime, the search starts again.

    :param tls: also reserve a port for TLS between nodes.
    :param first: port for clients of the first node of each instance.
    :param instances_of_first: number of instances that have `first`; each has as many of the nodes, and an address of
        its own.
    :param address: address of the instance that the nodes are added to; None for new instances.
    :param behind: address of all nodes except the first of each instance, which is its proxy; None for the same.

    Raises ApiError DCS.4062 if `first` is taken or reserved for the cluster bus, DCS.4039 if there are too few ports.
    """
    with database.read() as connection:
        taken = instances.taken_ports(connection)
    for _ in range(_TRIES):
        together = nodes if behind is None else instances_of_first
        if first is None:
            ports = _find(host, address or host.address, taken, together, tls=tls)
        else:
            _require_no_bus_port(settings, first)
            count = together // instances_of_first
            chosen = _addresses_with(host, taken, first, instances_of_first)
            ports = [of_node for other in chosen for of_node in _find(host, other, taken, count, tls=tls, first=first)]
        if behind is not None:
            ports = _in_turns(ports, _find(host, behind, taken, nodes - len(ports), tls=tls))
        with database.write() as connection:
            taken = instances.taken_ports(connection)
            if all(taken[of_node.address].isdisjoint(of_node.numbers) for of_node in ports):
                return store(connection, ports)
    raise ApiError(errors.LIMIT_EXCEEDED, reason="other requests took the ports that were found; ask again")


def _find(
    host: Host, address: str, taken: _Taken, nodes: int, *, tls: bool, first: int | None = None
) -> list[NodePorts]:
    others = taken[address] if first is None else taken[address] | {first}
    try:
        ports = host.find_ports(address, nodes, others, tls=tls)
    except NoFreePort as error:
        raise ApiError(errors.LIMIT_EXCEEDED, reason=f"ports for {nodes} nodes needed, {error}") from error
    return ports if first is None else [msgspec.structs.replace(ports[0], client=first), *ports[1:]]


def _in_turns(proxies: Sequence[NodePorts], nodes: Sequence[NodePorts]) -> list[NodePorts]:
    """Return each proxy before its equal share of the nodes."""
    each = len(nodes) // len(proxies)
    return [
        ports for place, proxy in enumerate(proxies) for ports in (proxy, *nodes[place * each : (place + 1) * each])
    ]


def _addresses_with(host: Host, taken: _Taken, port: int, count: int) -> list[str]:
    """Return `count` addresses at which the port is free. Raises ApiError DCS.4062."""
    found: list[str] = []
    for address in host.addresses():
        if port not in taken[address] and host.is_port_free(address, port):
            found.append(address)
            if len(found) == count:
                return found
    reason = f"{port} is taken" if count == 1 else f"{port} is free at {len(found)} addresses, {count} are needed"
    raise ApiError(errors.INVALID_PARAMETER, parameter="port", reason=reason)


def _require_no_bus_port(settings: Settings, port: int) -> None:
    if port in range(*settings.bus_ports):
        reason = f"{port} is one of {show_ports(settings.bus_ports)}, which are for the cluster bus"
        raise ApiError(errors.INVALID_PARAMETER, parameter="port", reason=reason)
