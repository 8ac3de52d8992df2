"""Which hosts run the sentinels: the rules of `placement.sentinels`, with the hosts as they are."""

import asyncio
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence

import sqlalchemy as sa

from cachewright.hosts.addresses import is_loopback
from cachewright.hosts.host import NodeStartFailed
from cachewright.hosts.ports import NodePorts
from cachewright.model.hosts import EMBEDDED, HostRecord
from cachewright.model.instances import Node
from cachewright.model.sentinels import Sentinel
from cachewright.operations.context import OperationContext
from cachewright.placement.port_reservation import reserve
from cachewright.placement.sentinels import SentinelHost, SentinelMove, first_hosts, taking
from cachewright.store import hosts, instances
from cachewright.store import sentinels as store
from cachewright.topologies import topology_of

log = logging.getLogger(__name__)

_STOP_SECONDS = 5.0


def only_here(address: str, instance_nodes: Iterable[Node]) -> bool:
    """Whether a node that Sentinel watches is on loopback, behind a proxy that is not: sentinels of other hosts do not
    reach it.

    :param address: of the host of the server.
    """
    return not is_loopback(address) and any(is_loopback(node.host) for node in instance_nodes)


def watched_nodes(connection: sa.Connection, *, tls: bool) -> list[Node]:
    """Return the nodes of all instances that sentinels with TLS watch, or of those that the others watch."""
    codes = instances.spec_codes(connection)
    watched = [one for one, spec_code in codes.items() if topology_of(spec_code).has_sentinel]
    nodes = [node for one in watched for node in instances.nodes_of(connection, one)]
    return [node for node in nodes if (node.tls_listener is not None) == tls]


def read_hosts(context: OperationContext, *, tls: bool, together: bool = False) -> Mapping[str, SentinelHost]:
    """Return all hosts by name, none of them as away. Blocks.

    :param tls: whether the sentinels use TLS.
    :param together: whether only sentinels on the host of the server reach all nodes.
    """
    reporting = context.host.measured()
    with context.database.read() as connection:
        records = hosts.every(connection)
    return sentinel_hosts(records, context.host.address, reporting, tls=tls, together=together)


def sentinel_hosts(
    records: Iterable[HostRecord], address: str, reporting: Collection[str], *, tls: bool, together: bool
) -> Mapping[str, SentinelHost]:
    """Return hosts by name, none of them as away. Pure.

    :param address: of the host of the server.
    :param reporting: names of hosts that report.
    :param tls: whether the sentinels use TLS, which the valkey-server of their host must have.
    """

    def can_run(record: HostRecord) -> bool:
        if tls and not (record.report and record.report.tls):
            return False
        is_able = record.report is not None and record.report.runs_sentinels
        return record.name == EMBEDDED or (not together and is_able)

    return {
        record.name: SentinelHost(
            name=record.name,
            address=address if record.name == EMBEDDED else record.address,
            state=record.state,
            reports=record.name in reporting,
            runs_sentinels=can_run(record),
        )
        for record in records
    }


def addresses_of_new(context: OperationContext, count: int, *, tls: bool) -> Mapping[str, Sequence[str]]:
    """Return the addresses at which `count` new sentinels listen, by the name of their host. Blocks. Raises
    NodeStartFailed if none of the hosts that take sentinels has the TLS that they need."""
    with context.database.read() as connection:
        nodes = watched_nodes(connection, tls=tls)
    found = read_hosts(context, tls=tls, together=only_here(context.host.address, nodes))
    if tls and not taking(found.values(), context.host.address):
        raise NodeStartFailed("no host whose valkey-server has TLS takes sentinels")
    chosen: dict[str, list[str]] = {}
    for name in first_hosts(found.values(), context.host.address, count):
        chosen.setdefault(name, []).append(found[name].address)
    return chosen


async def move(context: OperationContext, due: SentinelMove, *, answers: bool) -> None:
    """Record another host of a sentinel, on which it starts without instances; the failover watch gives it those. It
    keeps its id, so the others find it again by what it publishes, and count it once. Raises HostSilent, TimeoutError,
    or ApiError DCS.4039 if no port is free.

    :param answers: whether it runs now. It stops first, because two processes must not have one id. Its former host
        removes its files.
    """
    sentinel = due.sentinel
    if answers:
        await context.host.sentinels.stop(sentinel.id, _STOP_SECONDS)
    await asyncio.to_thread(_record, context, sentinel, due.to)
    log.warning("sentinel %s moves from host %s to %s", sentinel.id, sentinel.host_name, due.to)


def _record(context: OperationContext, sentinel: Sentinel, to: str) -> None:
    address = read_hosts(context, tls=sentinel.has_tls)[to].address

    def change(connection: sa.Connection, ports: Sequence[NodePorts]) -> None:
        (own,) = ports
        store.change_place(connection, sentinel.id, host_name=to, host=own.address, port=own.bus)

    reserve(context.database, context.host, context.settings, [address], change, tls=False)
