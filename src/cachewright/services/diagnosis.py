"""Slow logs of a live instance, and the connections of its clients: list and close them."""

from collections.abc import Collection, Mapping, Sequence

import msgspec

from cachewright import errors
from cachewright.errors import ApiError
from cachewright.model.identity import Principal
from cachewright.model.instances import Instance, Node
from cachewright.model.tasks import Task
from cachewright.monitoring.inspection import ANSWER_SECONDS, NodeInspector
from cachewright.operations.close_clients import CLOSE_CLIENTS, CloseRequest
from cachewright.services.lookup import instance_of
from cachewright.services.tasks import TaskService
from cachewright.store import instances
from cachewright.valkey import slow_log
from cachewright.valkey.access import Access
from cachewright.valkey.client_list import Row, close_clients, list_clients
from cachewright.valkey.single_request import request_once
from cachewright.valkey.slow_log import SlowLog


class SlowLogs(msgspec.Struct, frozen=True, kw_only=True):
    """Slow logs of an instance.

    :ivar logs: by node id, of the nodes that respond.
    """

    instance: Instance
    nodes: Sequence[Node]
    logs: Mapping[str, SlowLog]

    @property
    def silent(self) -> list[str]:
        """Ids of nodes that did not respond."""
        return [node.id for node in self.nodes if node.id not in self.logs]


class DiagnosisService(msgspec.Struct, frozen=True):
    """All methods raise ApiError DCS.3022 if the instance does not exist in the project, DCS.4049 if no queried node
    responds, and DCS.4974 if too many requests of the project wait."""

    tasks: TaskService
    inspector: NodeInspector

    async def slow_logs(self, principal: Principal, instance_id: str) -> SlowLogs:
        """Return the slow log of each node that responds."""

        async def read(node: Node, access: Access) -> SlowLog:
            return slow_log.parse(await request_once(node, access, slow_log.COMMANDS, ANSWER_SECONDS))

        instance, nodes = await self._recorded(principal, instance_id)
        logs = await self.inspector.each(instance, nodes, read)
        return SlowLogs(instance=instance, nodes=nodes, logs=logs)

    async def clients(self, principal: Principal, instance_id: str, node_id: str) -> list[Row]:
        """Return the connections of clients of a node, oldest first. Raises ApiError DCS.3053."""
        instance, nodes = await self._recorded(principal, instance_id, node_id)
        (rows,) = (await self.inspector.each(instance, nodes, _list)).values()
        return rows

    async def close(
        self, principal: Principal, instance_id: str, node_id: str | None, addresses: Collection[str]
    ) -> None:
        """Close the connections of clients from these addresses, `address:port`, of one node or of all. Raises
        ApiError DCS.3053, or DCS.4049 if one of the nodes does not respond."""

        async def close(node: Node, access: Access) -> int:
            return await close_clients(node, access, ANSWER_SECONDS, chosen=lambda row: row.get("addr") in addresses)

        instance, nodes = await self._recorded(principal, instance_id, node_id)
        closed = await self.inspector.each(instance, nodes, close)
        if silent := [node.id for node in nodes if node.id not in closed]:
            raise ApiError(errors.INSTANCE_NOT_RUNNING, reason=f"node {silent[0]} does not answer")

    async def close_all(self, principal: Principal, instance_id: str, node_id: str | None) -> Task:
        """Start a task that closes all connections of clients of one node, or of all. Raises ApiError of
        `TaskService.submit`, or DCS.3053."""
        request = CloseRequest(node_id=node_id)
        return await self.tasks.threads.change(
            principal.project_id, lambda: self.tasks.submit(CLOSE_CLIENTS, principal, instance_id, request)
        )

    async def _recorded(
        self, principal: Principal, instance_id: str, node_id: str | None = None
    ) -> tuple[Instance, list[Node]]:
        """Return the instance and its nodes, or the one node. Raises ApiError DCS.3053."""

        def read() -> tuple[Instance, list[Node]]:
            with self.tasks.context.database.read() as connection:
                instance = instance_of(connection, principal.project_id, instance_id)
                return instance, instances.nodes_of(connection, instance_id)

        instance, nodes = await self.tasks.threads.read(principal.project_id, read)
        chosen = [node for node in nodes if node_id in {None, node.id}]
        if node_id is not None and not chosen:
            raise ApiError(errors.INVALID_NODE_ID, node=node_id)
        return instance, chosen


async def _list(node: Node, access: Access) -> list[Row]:
    return await list_clients(node, access, ANSWER_SECONDS)
