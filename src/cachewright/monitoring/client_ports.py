"""Open the client ports of nodes that have started outside of a task.

A node of a cluster starts with its port for clients closed (see `valkey.config.closed_at_start`). Tasks open the ports
of the nodes that they start. This module opens all others: of nodes that were restarted after their death, and of nodes
whose task was cancelled, has failed, or was interrupted by the end of the server.
"""

import asyncio
import logging
import time
from collections.abc import Mapping

import msgspec

from cachewright.concurrency import GrowingPauses
from cachewright.hosts.client_firewall import FirewallFailed
from cachewright.hosts.host import ProcessInfo
from cachewright.logs import RARELY, about
from cachewright.model.instances import Instance, Node
from cachewright.model.tasks import ENDED, Task
from cachewright.operations.actions.cluster import is_settled
from cachewright.operations.context import OperationContext
from cachewright.operations.slot_moves.equal_nodes import joining_in
from cachewright.operations.watched_roles import admit
from cachewright.store import instances, tasks
from cachewright.threads import in_background
from cachewright.topologies import topology_of
from cachewright.valkey import node_control
from cachewright.valkey.client import NODE_GONE, NodeBusy, NodeRefused

log = logging.getLogger(__name__)

_POLL_SECONDS = 0.1
_ATTEMPT_SECONDS = 5.0
_UNSETTLED_SECONDS = 15.0
"""Time for a started node to join its cluster. After that, its port is opened in any case."""

_AT_ONCE = 32


class _Recorded(msgspec.Struct, frozen=True):
    """:ivar is_changing: a task of the instance has not ended.
    :ivar is_joining: the node is a replica that joins its cluster. Until it follows its primary, it is itself a
        primary, which clients must not meet. The task opens its port after that.
    """

    instance: Instance
    node: Node
    is_changing: bool
    is_joining: bool


class ClientPorts:
    """:ivar opened: processes whose ports are known to be open, by node id."""

    def __init__(self, context: OperationContext) -> None:
        self._context = context
        self._opened: dict[str, ProcessInfo] = {}
        self._opening: dict[str, asyncio.Task[None]] = {}
        self._ended: set[str] = set()
        self._permits = asyncio.Semaphore(_AT_ONCE)

    def see(self, task: Task) -> None:
        """Check the nodes of an instance again after the end of a task that may have closed ports. Thread-safe."""
        if task.status in ENDED:
            self._ended.add(task.instance_id)

    def check(self, supervised: Mapping[str, str], processes: Mapping[str, ProcessInfo]) -> None:
        """Begin to open the ports of processes that are new since the last call.

        :param supervised: ids of the nodes that should run, each with the id of its instance.
        """
        ended, self._ended = self._ended, set()
        for node_id in list(self._opened):
            if node_id not in processes or supervised.get(node_id) in ended:
                del self._opened[node_id]
        for node_id, instance_id in supervised.items():
            process = processes.get(node_id)
            if process and self._opened.get(node_id) != process and node_id not in self._opening:
                self._opening[node_id] = asyncio.create_task(self._open(node_id, instance_id, process))

    def stop(self) -> None:
        for opening in self._opening.values():
            opening.cancel()

    async def _open(self, node_id: str, instance_id: str, process: ProcessInfo) -> None:
        """Open the port of one node, or give up after a while: the next check begins again with the present record."""
        try:
            with about(instance_id=instance_id, node_id=node_id):
                recorded = await in_background(self._read, node_id, instance_id)
                end, pauses = time.monotonic() + _ATTEMPT_SECONDS, GrowingPauses(_POLL_SECONDS)
                while recorded and time.monotonic() < end:
                    async with self._permits:
                        if await self._is_opened(recorded, process):
                            self._opened[node_id] = process
                            return
                    await pauses.next()
        except Exception:
            log.exception("the port for clients of node %s could not be opened; retrying", node_id)
        finally:
            del self._opening[node_id]

    def _read(self, node_id: str, instance_id: str) -> _Recorded | None:
        with self._context.database.read() as connection:
            instance = instances.find(connection, instance_id)
            nodes = instances.nodes_of(connection, instance_id)
            unfinished = [
                tasks.get(connection, instance_id, task.id) or task for task in tasks.active_of(connection, instance_id)
            ]
        node = next((node for node in nodes if node.id == node_id and node.should_run), None)
        if instance is None or node is None:
            return None
        is_joining = node.role == "replica" and any(node_id in joining_in(task) for task in unfinished)
        return _Recorded(instance, node, bool(unfinished), is_joining)

    async def _is_opened(self, recorded: _Recorded, process: ProcessInfo) -> bool:
        """Open the port if the node may serve clients. Return whether it is open.

        The node need not know all nodes of the instance: a node that does not respond must not keep the port of another
        one closed.
        """
        node, access = recorded.node, self._context.access(recorded.instance)
        topology = topology_of(recorded.instance.spec_code)
        try:
            if topology.has_sentinel:
                is_late = time.time() - process.started_at > _UNSETTLED_SECONDS
                return not recorded.is_joining and await admit(self._context, recorded.instance, node, unasked=is_late)
            if await node_control.is_open_to_clients(node, access):
                self._context.host.release_port(node.host, node.port)
                return True
            self._context.host.hold_port(node.host, node.port)
            if recorded.is_joining or not await is_settled(topology, node, [node], access):
                if recorded.is_changing or time.time() - process.started_at < _UNSETTLED_SECONDS:
                    return False
                if (await self._context.views(recorded.instance, [node]))[node.id] is None:
                    return False
                log.warning("node %s serves clients although it does not know the whole cluster", node.id)
            await self._context.open_port(recorded.instance, node)
        except (*NODE_GONE, NodeRefused, FirewallFailed) as failure:
            if isinstance(failure, (NodeRefused, FirewallFailed)) and not isinstance(failure, NodeBusy):
                log.warning("the port for clients of node %s cannot be opened: %s", node.id, failure, extra=RARELY)
            return False
        return True
