"""Preparation of the end of a node that leaves or restarts: a replica takes over, and clients leave."""

import asyncio
import logging
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

import msgspec

from cachewright import errors
from cachewright.model.instances import Instance, Node
from cachewright.operations import watched_roles
from cachewright.operations.context import OperationContext, best_view
from cachewright.operations.succession import successors
from cachewright.tasks.operation import ActionFailed, StepContext
from cachewright.topologies import topology_of
from cachewright.valkey import cluster_membership
from cachewright.valkey.client import NODE_GONE
from cachewright.valkey.client_drain import Drain, count_holding, drain_clients, has_clients
from cachewright.valkey.topology import View, primaries

log = logging.getLogger(__name__)

LONGEST_GRACE_SECONDS = 3600.0
"""Upper limit of the setting `client_grace_seconds`."""

_POLL_SECONDS = 0.1
_RECONNECT_SECONDS = 5.0
"""Time in which clients connect again to a node that accepts them again. Libraries pause for up to 3.9 s between
attempts."""

_OPENED_WITHIN_SECONDS = 20.0
"""Time after the start of a node in which it may begin to accept clients. Another server may have opened its port."""


class EndingNode(msgspec.Struct, frozen=True):
    """A node that a sub-step is about to end. Methods raise ActionFailed if the task is cancelled."""

    context: OperationContext
    step: StepContext
    instance: Instance
    node: Node

    async def hand_over(self, nodes: Sequence[Node], views: Mapping[str, View | None]) -> bool:
        """Make a replica the primary in place of the node, if the node is a primary and has a replica that can. Return
        whether another node is the primary of the shard then.

        :param nodes: all nodes of the instance, with their `views` by node id.
        """
        node, access = self.node, self.context.access(self.instance)
        leads = primaries(nodes, best_view(views))
        if leads.get(node.shard) is not node:
            return node.shard in leads
        replicas = successors(node, nodes)
        if topology_of(self.instance.spec_code).has_sentinel:
            handed = bool(replicas) and await watched_roles.hand_over(self.context, self.instance, node, nodes)
            if replicas and not handed:  # while the node is away, sentinels could promote a replica that lacks writes
                raise ActionFailed(errors.CLUSTER_NOT_HEALTHY_IN_TIME, f"no replica of node {node.id} is in sync")
            return handed
        if replicas and await has_clients(node, access):
            await self._wait_for_reconnections(replicas)
        return bool(replicas) and await cluster_membership.fail_over(node, replicas, nodes, access)

    async def _wait_for_reconnections(self, replicas: Sequence[Node]) -> None:
        """Wait until clients have had time to connect again to replicas that have just restarted. Some libraries fail
        requests to a primary to which they have no connection."""
        deadline = time.monotonic() + _RECONNECT_SECONDS
        opened_at, now = self.context.opened_at, time.time()
        processes = {replica.id: await self.context.host.process(replica.id) for replica in replicas}
        ends = (
            reconnected_at(process.started_at, opened_at.get(node_id), now)
            for node_id, process in processes.items()
            if process
        )
        end = max(ends, default=0.0)
        while time.time() < end and time.monotonic() < deadline:
            self.step.raise_if_cancelled()
            await asyncio.sleep(_POLL_SECONDS)

    async def end_clients(self, *, has_successor: bool, local_address: str = "") -> None:
        """Let the clients leave the node, and show in the sub-step which connections were cut.

        :param has_successor: other nodes serve the clients. Otherwise they use the node until it ends.
        :param local_address: only those of this address of the node, `host:port`. The node keeps its port open then.
        """
        node, access = self.node, self.context.access(self.instance)
        if has_successor and not local_address:
            with suppress(*NODE_GONE):
                await self.context.close_port(self.instance, node)

        def report(holding: Mapping[str, int], seconds: float) -> None:
            self.step.raise_if_cancelled()
            if total := sum(holding.values()):
                figures = {"waiting_for_clients": total, **holding, "seconds_left": math.ceil(seconds)}
                self.step.measure(detail=node_detail(node, figures))

        drain = Drain(
            grace_seconds=self.context.settings.client_grace_seconds,
            has_successor=has_successor,
            redirects=has_successor and topology_of(self.instance.spec_code).is_cluster,
            local_address=local_address,
        )
        cut = await drain_clients(node, access, drain, report)
        self.step.measure(detail=node_detail(node, {f"{kind}_cut": number for kind, number in cut.items()}))
        if cut:
            kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(cut.items()))
            log.warning("node %s: connections of clients were cut: %s", node.id, kinds)


def reconnected_at(started_at: float, opened_at: float | None, now: float) -> float:
    """Return when clients have had time to connect again to a node since it accepts them. Epoch seconds. Pure.

    :param started_at: start of its process.
    :param opened_at: when this server made the node accept clients; None if it did not, or only before that start.
    """
    if opened_at is None or opened_at < started_at:
        opened_at = now if now - started_at < _OPENED_WITHIN_SECONDS else started_at
    return opened_at + _RECONNECT_SECONDS


async def hand_over_seconds(context: OperationContext, instance: Instance, leads: Iterable[Node]) -> dict[str, float]:
    """Return the seconds that each of these primaries waits for clients before its replica takes over, by node id."""

    async def seconds(node: Node) -> tuple[str, float]:
        waits = not topology_of(instance.spec_code).has_sentinel
        waits = waits and await has_clients(node, context.access(instance))
        return node.id, _RECONNECT_SECONDS if waits else 0.0

    return dict(await asyncio.gather(*map(seconds, leads)))


async def grace_seconds(context: OperationContext, instance: Instance, nodes: Iterable[Node]) -> dict[str, float]:
    """Return the seconds for which each of these nodes would wait for clients if it ended now, by node id."""
    holding = await count_holding(nodes, context.access(instance))
    return {node_id: context.settings.client_grace_seconds if number else 0.0 for node_id, number in holding.items()}


def node_detail(node: Node, figures: Mapping[str, int] | None = None) -> str:
    """Return a sub-step's detail in the contract's brace form: the node, and further figures."""
    shown = "".join(f",{name}:{figure}" for name, figure in (figures or {}).items())
    return f"{{node_id:{node.id},address:{node.host}:{node.port}{shown}}}"
