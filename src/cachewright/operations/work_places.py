"""The host on which work on the data of an instance runs that could run on any of them."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from cachewright.hosts.host import MeasuredHost
from cachewright.model.hosts import EMBEDDED
from cachewright.model.instances import Node
from cachewright.operations.context import OperationContext

CanRun = Callable[[MeasuredHost], bool]
"""Whether the agent of a host can do the work: that of an earlier release may not."""


def runs_gateways(host: MeasuredHost) -> bool:
    return host.gateways is not None


def runs_temporary_nodes(host: MeasuredHost) -> bool:
    return host.runs_temporary_nodes


def place_of_work(
    nodes: Sequence[Node], primaries: Sequence[Node], hosts: Mapping[str, MeasuredHost], needed: int, can_run: CanRun
) -> str:
    """Return the name of the host on which the work runs best. Pure.

    It is that of the server if it has half of the nodes or more, or if no other host with nodes can do the work. Of the
    others those with enough memory come first, then the one with the most primaries, whose data it is, then the one
    with the most nodes.

    :param nodes: of the instance, :param primaries: those of them that own slots, as far as that is known.
    :param hosts: those that report.
    :param needed: bytes of memory.
    """
    counts, owners = Counter(node.host_name for node in nodes), Counter(node.host_name for node in primaries)
    others = [name for name in counts if name != EMBEDDED and name in hosts and can_run(hosts[name])]
    if 2 * counts[EMBEDDED] >= len(nodes) or not others:
        return EMBEDDED

    def rank(name: str) -> tuple[bool, int, int, str]:
        return hosts[name].resources.memory_free >= needed, owners[name], counts[name], name

    return max(others, key=rank)


def next_place(former: str, nodes: Sequence[Node], hosts: Mapping[str, MeasuredHost], can_run: CanRun) -> str:
    """Return the host for the next attempt: the former one while it reports, or if no other one with nodes could take
    its place. Pure."""
    if former == EMBEDDED or former in hosts:
        return former
    found = place_of_work(nodes, (), hosts, 0, can_run)
    return former if found == EMBEDDED else found


async def place_of_temporary_node(
    context: OperationContext, nodes: Sequence[Node], primaries: Sequence[Node], needed: int
) -> Node | None:
    """Return a node of the host on which a temporary node for the data of an instance runs best; None for the host of
    the server. The other hosts need a storage of backups that they reach.

    :param needed: bytes of memory.
    """
    if context.settings.backup_storage is None:
        return None
    hosts = await asyncio.to_thread(context.host.measured)
    return _node_on(nodes, place_of_work(nodes, primaries, hosts, needed, runs_temporary_nodes))


async def node_for_attempt(context: OperationContext, instance_id: str, planned_host: str | None) -> Node | None:
    """Return a node of the host on which an attempt runs: the planned one, or another one if that does not report. None
    for the host of the server.

    :param planned_host: None for that of the server.
    """
    if planned_host is None:
        return None
    nodes = await context.nodes(instance_id)
    hosts = await asyncio.to_thread(context.host.measured)
    return _node_on(nodes, next_place(planned_host, nodes, hosts, runs_temporary_nodes))


def _node_on(nodes: Sequence[Node], host_name: str) -> Node | None:
    """Return always the same node of a host, so that another attempt finds its job."""
    here = (node for node in nodes if node.host_name == host_name and host_name != EMBEDDED)
    return min(here, key=lambda node: node.id, default=None)
