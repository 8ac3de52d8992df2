"""Which node is the primary of a shard: switchovers, and the priorities of replicas.

Roles change without a task when a replica takes over, so they are read from the nodes before a request is validated.
"""

from contextlib import suppress

import msgspec

from cachewright.errors import ApiError
from cachewright.hosts.host import CONFIG
from cachewright.model.identity import Principal
from cachewright.model.instances import Instance, Node
from cachewright.model.tasks import Task
from cachewright.operations import acceptance
from cachewright.operations.requests import SwitchoverRequest
from cachewright.operations.switchover import SWITCHOVER, require_replica
from cachewright.services.lookup import instance_of
from cachewright.services.node_queries import NodeQueries
from cachewright.services.tasks import TaskService
from cachewright.store import instances
from cachewright.topologies import topology_of
from cachewright.valkey import node_control
from cachewright.valkey.access import can_close_all_ports
from cachewright.valkey.client import NODE_GONE, NodeRefused


class SwitchoverService(msgspec.Struct, frozen=True):
    """All methods raise ApiError DCS.3022 if the instance does not exist in the project, DCS.4974 if too many requests
    of the project wait, and what `SWITCHOVER.validate` raises."""

    tasks: TaskService
    nodes: NodeQueries

    async def switch_over(
        self, principal: Principal, instance_id: str, *, group_id: str | None = None, node_id: str | None = None
    ) -> Task:
        """Start a switchover: to this replica of this shard, or to the best replica of an instance with one shard."""
        request = await self._request(principal, instance_id, group_id, node_id)
        return await self.tasks.threads.change(
            principal.project_id, lambda: self.tasks.submit(SWITCHOVER, principal, instance_id, request)
        )

    async def set_priority(
        self, principal: Principal, instance_id: str, *, group_id: str, node_id: str, priority: int
    ) -> None:
        """Store the priority of a replica, and set it on the node. A server without the claim to perform tasks changes
        no node: the one with the claim sets it within seconds, as on a node that does not respond now. ApiError of
        the operation in progress unless the instance is RUNNING."""
        request = await self._request(principal, instance_id, group_id, node_id)
        context = self.tasks.context

        def store() -> tuple[Instance, Node]:
            with context.database.write() as connection:
                instance = instance_of(connection, principal.project_id, instance_id)
                if instance.status not in SWITCHOVER.accepts:
                    raise ApiError(acceptance.busy_code(instance))
                node = require_replica(instance, instances.nodes_of(connection, instance_id), request)
                instances.change_node(connection, node.id, priority=priority)
            return instance, msgspec.structs.replace(node, priority=priority)

        instance, node = await self.tasks.threads.change(principal.project_id, store)
        if context.database.claim.is_held and await context.host.has_file(node.id, CONFIG):
            await context.host.write_files(node.id, await context.files(instance, node))
            if topology_of(instance.spec_code).has_sentinel and not can_close_all_ports(node):
                return  # it may lack data since its start: the enforcement sets the priority when it may take over
            with suppress(*NODE_GONE, NodeRefused):
                await node_control.set_priority(node, context.access(instance))

    async def _request(
        self, principal: Principal, instance_id: str, group_id: str | None, node_id: str | None
    ) -> SwitchoverRequest:
        inspected = await self.nodes.of_instance(principal, instance_id)
        roles = {info.node.id: info.role for info in inspected.nodes}
        return SwitchoverRequest(roles=roles, group_id=group_id, node_id=node_id)
