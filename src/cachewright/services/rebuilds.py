"""Repairs of nodes: by request, and by the supervisor when a node does not start."""

import logging

import msgspec

from cachewright.clock import now_ms
from cachewright.errors import ApiError
from cachewright.hosts.host import CONFIG
from cachewright.logs import RARELY
from cachewright.model.identity import Principal
from cachewright.model.tasks import Task
from cachewright.operations.rebuild import REBUILD
from cachewright.operations.requests import RebuildRequest
from cachewright.operations.start_failure import FILES_MISSING, StartFailure, start_failure
from cachewright.services.node_queries import NodeQueries
from cachewright.services.tasks import TaskService
from cachewright.store import instances, tasks

log = logging.getLogger(__name__)

_SYSTEM = "system"
_RECENT = 20
_LINES = 8
_PERIOD_MS = 600_000
_MOST_REPAIRS = 3
"""Maximum number of repairs of a node in this period. If its files are damaged again, the operator must act."""


class RebuildService(msgspec.Struct, frozen=True):
    tasks: TaskService
    nodes: NodeQueries

    async def rebuild(self, principal: Principal, instance_id: str, node_id: str) -> Task:
        """Start a repair by request. Raises ApiError DCS.3022, DCS.4974, or of `REBUILD.validate`."""
        inspected = await self.nodes.of_instance(principal, instance_id)
        found = next((info for info in inspected.nodes if info.node.id == node_id), None)
        failure = await self._failure(node_id) if found else None
        serves = found is not None and found.is_serving and found.role == "primary"
        request = RebuildRequest(node_id=node_id, is_serving_primary=serves, failure=failure)
        return await self.tasks.threads.change(
            principal.project_id, lambda: self.tasks.submit(REBUILD, principal, instance_id, request)
        )

    def repair(self, instance_id: str, node_id: str, failure: StartFailure) -> None:
        """Start a repair for the supervisor, unless a task of the instance is unfinished or the node was repaired
        several times lately."""
        with self.tasks.context.database.read() as connection:
            instance = instances.find(connection, instance_id)
            _, earlier = tasks.of_kind(connection, instance_id, REBUILD.kind, offset=0, limit=_RECENT)
            if instance is None or tasks.active_of(connection, instance_id):
                return
        since = now_ms() - _PERIOD_MS
        if sum(task.params["node_id"] == node_id and task.created_at > since for task in earlier) >= _MOST_REPAIRS:
            return
        principal = Principal(project_id=instance.project_id, user_id="", user_name=_SYSTEM)
        try:
            self.tasks.submit(REBUILD, principal, instance_id, RebuildRequest(node_id=node_id, failure=failure))
        except ApiError as refusal:
            log.warning("node %s is not repaired: %s", node_id, refusal, extra=RARELY)
        else:
            log.warning("node %s is repaired: %s", node_id, failure.cause)

    async def _failure(self, node_id: str) -> StartFailure | None:
        """Why the node does not run; None if it does."""
        host = self.tasks.context.host
        if await host.process(node_id):
            return None
        if not await host.has_file(node_id, CONFIG):
            return FILES_MISSING
        lines = (await host.read_log(node_id, None)).lines
        return start_failure("\n".join(lines[-_LINES:]))
