"""Enforce recorded priorities of replicas on nodes. A server without the claim to perform tasks only records them."""

import logging

import msgspec

from cachewright.model.instances import Instance, Node
from cachewright.operations.configure import CONFIGURE
from cachewright.operations.context import OperationContext
from cachewright.operations.users import USER_CHANGES
from cachewright.operations.watched_roles import admit
from cachewright.store import instances, tasks
from cachewright.threads import in_background
from cachewright.topologies import topology_of
from cachewright.valkey.access import can_close_all_ports
from cachewright.valkey.config import priority_settings
from cachewright.valkey.session import Session

log = logging.getLogger(__name__)

_KINDS = (CONFIGURE.kind, *(operation.kind for operation in USER_CHANGES))
"""Tasks that write the configuration of nodes."""


class PriorityState(msgspec.Struct):
    """Priority of one node at the last comparison, None before the first."""

    compared: int | None = None


class PriorityEnforcement:
    def __init__(self, context: OperationContext) -> None:
        self._context = context

    async def compare(self, node: Node, state: PriorityState, session: Session) -> None:
        """Set the priority of the node as recorded, if it may differ. Raises one of NODE_GONE or NodeRefused."""
        if state.compared == node.priority:
            return
        recorded = priority_settings(node)
        answer = await session.ask("CONFIG", "GET", *recorded)
        if dict(zip(answer[::2], answer[1::2], strict=True)) != recorded:
            instance = await in_background(self._unchanged, node)
            if instance is None:
                return  # a task changes the instance, or the priority has just changed: the next round compares again
            await self._context.host.write_files(node.id, await self._context.files(instance, node))
            if topology_of(instance.spec_code).has_sentinel and not can_close_all_ports(node):
                # It may lack data since its start (`watched_settings`). `admit` sets the priority when it has them.
                if not node.should_run or not await admit(self._context, instance, node):
                    return
            else:
                await session.ask("CONFIG", "SET", *(word for setting in recorded.items() for word in setting))
            log.info("node %s has the recorded priority %d now", node.id, node.priority)
        state.compared = node.priority

    def _unchanged(self, node: Node) -> Instance | None:
        """The node's instance, if the node still has this priority and no task changes its configuration."""
        with self._context.database.read() as connection:
            instance = instances.find(connection, node.instance_id)
            changing = tasks.worked_on(connection, *_KINDS)
            present = {each.id: each.priority for each in instances.nodes_of(connection, node.instance_id)}
        return instance if node.instance_id not in changing and present.get(node.id) == node.priority else None
