"""Previews of resizes, and requests for them: a request is refused for what a preview shows as blockers."""

import asyncio
from contextlib import suppress

import msgspec

from cachewright import errors
from cachewright.errors import ApiError
from cachewright.model.identity import Principal
from cachewright.model.incidents import Incident
from cachewright.model.instances import Instance
from cachewright.model.tasks import MigrationMode, Task
from cachewright.monitoring.inspection import NodeBudget
from cachewright.operations import acceptance, admission, node_placement
from cachewright.operations.context import InstanceGone
from cachewright.operations.execution import node_errors_as_failures
from cachewright.operations.requests import ResizeRequest
from cachewright.operations.resize.operation import RESIZE, Preview
from cachewright.placement.capacity import Shortage
from cachewright.services.lookup import instance_of
from cachewright.services.new_tasks import new_task
from cachewright.services.tasks import TaskService
from cachewright.store import incidents, instances, tasks
from cachewright.tasks.operation import ActionFailed

_PREVIEW_SECONDS = 30.0
_CHECK_SECONDS = 3.0
"""For how long a request waits for the checks of its task."""


class ResizeService(msgspec.Struct, frozen=True):
    """Raises ApiError DCS.3022 if the instance does not exist in the project.

    :ivar budget: limits the concurrent previews of each project.
    """

    tasks: TaskService
    budget: NodeBudget

    async def require_possible(self, principal: Principal, instance_id: str, request: ResizeRequest) -> None:
        """Refuse a resize whose first check would fail whenever it is repeated. Raises ApiError like
        `TaskService.submit`, and with the first such blocker of a preview.

        What is not known within seconds is left to the task, which checks it again: nodes that do not answer, an
        instance that other tasks change or delete, and too many previews of the project.
        """
        context = self.tasks.context

        def draft() -> Task | None:
            limits = node_placement.limits(context.host, context.settings)
            with context.database.read() as connection:
                instance = instance_of(connection, principal.project_id, instance_id)
                unfinished = tasks.unfinished_of(connection, instance_id)
                accepted = self.tasks.accept(
                    connection, RESIZE, instance, request, unfinished=unfinished, limits=limits
                )
            return None if unfinished else new_task(RESIZE, principal, instance, accepted)

        task = await self.tasks.threads.read(principal.project_id, draft)
        failures: list[ActionFailed] = []
        with suppress(ActionFailed, TimeoutError, ApiError, InstanceGone):
            async with asyncio.timeout(_CHECK_SECONDS), self.budget.preview(principal.project_id):
                with node_errors_as_failures():
                    failures = await RESIZE.final_failures(context, task) if task else []
        for failure in failures:
            raise ApiError(failure.code, reason=failure.message)

    async def preview(self, principal: Principal, instance_id: str, request: ResizeRequest) -> tuple[Instance, Preview]:
        """Return the instance and a preview of a resize: its steps and its blockers. Changes nothing.

        Raises ApiError like `TaskService.submit`, except that every status of the instance is accepted, and missing
        resources are blockers of the preview; DCS.4049 if the nodes do not answer in time, DCS.4974 if too many
        requests of the project wait.
        """

        def draft() -> tuple[Instance, Task]:
            with self.tasks.context.database.read() as connection:
                instance = instance_of(connection, principal.project_id, instance_id)
                accepted = RESIZE.validate(instance, instances.nodes_of(connection, instance_id), request)
            return instance, new_task(RESIZE, principal, instance, accepted)

        instance, task = await self.tasks.threads.read(principal.project_id, draft)
        return instance, await self._preview(task, request.mode)

    async def _preview(self, task: Task, mode: MigrationMode) -> Preview:
        async with self.budget.preview(task.project_id):
            try:
                async with asyncio.timeout(_PREVIEW_SECONDS):
                    with node_errors_as_failures():
                        preview = await RESIZE.preview(self.tasks.context, task, mode)
                    shortages = await self.tasks.threads.read(task.project_id, lambda: self._shortages(task))
            except ActionFailed as failure:
                faults = await self.tasks.threads.read(task.project_id, lambda: self._faults(task))
                reason = "; ".join([failure.message, *(fault.detail for fault in faults)])
                raise ApiError(errors.INSTANCE_NOT_RUNNING, reason=reason) from failure
            except InstanceGone as error:
                raise ApiError(errors.INSTANCE_NOT_FOUND) from error
            except TimeoutError as error:
                raise ApiError(errors.INSTANCE_NOT_RUNNING, reason="its nodes do not answer in time") from error
        broken = acceptance.blocking(await self.tasks.threads.read(task.project_id, lambda: self._faults(task)))
        blockers = (
            *((errors.INSTANCE_RECOVERING, incident.detail) for incident in broken),
            *((shortage.code, shortage.reason) for shortage in shortages),
            *preview.blockers,
        )
        return msgspec.structs.replace(preview, blockers=blockers)

    def _faults(self, task: Task) -> list[Incident]:
        with self.tasks.context.database.read() as connection:
            return incidents.open_of(connection, task.instance_id)

    def _shortages(self, task: Task) -> list[Shortage]:
        """Return the shortages for which a resize would be refused. The preview itself checks disk space, because it
        knows the moved bytes."""
        context = self.tasks.context
        limits = node_placement.limits(context.host, context.settings)
        with context.database.read() as connection:
            instance = instances.find(connection, task.instance_id)
            nodes = instances.nodes_of(connection, task.instance_id)
            room = RESIZE.required_room(nodes, RESIZE.params_of(task), None)
            return admission.shortages(connection, limits, task.project_id, room, instance)
