"""Reserve ports for nodes: find free ports without a lock, then store them in one short transaction.

A node listens on an address of its host. If an instance needs a port that is taken at the usual address, its nodes on
that host get another address.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from typing import TypeVar

import msgspec
import sqlalchemy as sa

from cachewright import errors
from cachewright.config import Settings, show_ports
from cachewright.errors import ApiError
from cachewright.hosts.calls import HostSilent
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
    addresses: Sequence[str],
    store: Callable[[sa.Connection, Sequence[NodePorts]], Stored],
    *,
    tls: bool,
    first: int | None = None,
    instances_of_first: int = 1,
    avoid: Set[int] = frozenset(),
) -> Stored:
    """Call `store` in a write transaction with free ports for each node, and return its result. `store` must write the
    ports to the rows of the nodes. All ports of one call are different.

    For large requests the host tries thousands of ports. It does so outside the transaction, so that no other change
    has to wait. If another request has stored one of the ports in the meantime, the search starts again.

    :param addresses: the usual address of the host of each node.
    :param tls: also reserve a port for TLS between nodes.
    :param first: port for clients of the first node of each instance.
    :param instances_of_first: number of instances that have `first`; each has as many of the nodes, and an address of
        its own.
    :param avoid: ports of other nodes of the instance, which may be on other hosts.

    Raises ApiError DCS.4062 if `first` is taken or reserved for the cluster bus, DCS.4039 if there are too few ports.
    """
    with database.read() as connection:
        taken = instances.taken_ports(connection)
    for _ in range(_TRIES):
        if first is None:
            ports = _find(host, addresses, taken, avoid, tls=tls)
        else:
            _require_no_bus_port(settings, first)
            count = len(addresses) // instances_of_first
            each = [addresses[place * count :][:count] for place in range(instances_of_first)]
            chosen = _addresses_with(host, taken, first, [of_instance[0] for of_instance in each])
            ports, own = [], set(avoid) | {first}
            for of_instance, usual in zip(each, chosen, strict=True):
                moved = [usual if address == of_instance[0] else address for address in of_instance]
                found = _find(host, moved, taken, own, tls=tls)
                own.update(number for of_node in found for number in of_node.numbers)
                ports += [msgspec.structs.replace(found[0], client=first), *found[1:]]
        with database.write() as connection:
            taken = instances.taken_ports(connection)
            if all(taken[of_node.address].isdisjoint(of_node.numbers) for of_node in ports):
                return store(connection, ports)
    raise ApiError(errors.LIMIT_EXCEEDED, reason="other requests took the ports that were found; ask again")


def _find(host: Host, addresses: Sequence[str], taken: _Taken, avoid: Set[int], *, tls: bool) -> list[NodePorts]:
    """Return ports for each node. Nodes of one instance have different ports also on different hosts, so that a port
    names a node of it."""
    others, found = set(avoid), dict[str, list[NodePorts]]()
    for address, count in Counter(addresses).items():
        try:
            found[address] = host.find_ports(address, count, taken[address] | others, tls=tls)
        except (NoFreePort, HostSilent) as error:
            raise ApiError(errors.LIMIT_EXCEEDED, reason=f"ports for {count} nodes needed, {error}") from error
        others.update(number for ports in found[address] for number in ports.numbers)
    return [found[address].pop(0) for address in addresses]


def _addresses_with(host: Host, taken: _Taken, port: int, usual: Sequence[str]) -> list[str]:
    """Return an address at which the port is free for each instance whose first node has this usual address. Raises
    ApiError DCS.4062."""
    chosen: list[str] = []
    for first in usual:
        free = (
            address
            for address in host.addresses(first)
            if address not in chosen and port not in taken[address] and host.is_port_free(address, port)
        )
        if (found := next(free, None)) is None:
            count = len(usual)
            reason = f"{port} is taken"
            if count > 1:
                reason = f"{port} is free at {len(chosen)} addresses, {count} are needed"
            raise ApiError(errors.INVALID_PARAMETER, parameter="port", reason=reason)
        chosen.append(found)
    return chosen


def _require_no_bus_port(settings: Settings, port: int) -> None:
    if port in range(*settings.bus_ports):
        reason = f"{port} is one of {show_ports(settings.bus_ports)}, which are for the cluster bus"
        raise ApiError(errors.INVALID_PARAMETER, parameter="port", reason=reason)
