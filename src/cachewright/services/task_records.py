"""Stored tasks: show, list and delete them, and read their progress."""

from collections.abc import Callable
from typing import TypeVar

import msgspec
import sqlalchemy as sa

from cachewright import errors
from cachewright.clock import now_ms
from cachewright.errors import ApiError
from cachewright.model.identity import Principal
from cachewright.model.tasks import ENDED, ControlledTask, Task
from cachewright.operations.configure import CONFIGURE
from cachewright.operations.scan_expired import SCAN_EXPIRED
from cachewright.services.lookup import instance_of, task_of, task_of_project, task_on_record, with_tasks_before
from cachewright.store import task_controls, tasks
from cachewright.store.database import Database
from cachewright.store.read_cache import ReadCache
from cachewright.tasks.estimate_age import at_present

View = TypeVar("View")


class Period(msgspec.Struct, frozen=True):
    """Bounds for the creation time of listed tasks, in epoch milliseconds; None for no bound."""

    start: int | None = None
    end: int | None = None


class TaskRecords:
    def __init__(self, database: Database, cache: ReadCache) -> None:
        self._database = database
        self._cache = cache

    def show(self, principal: Principal, instance_id: str, task_id: str) -> ControlledTask:
        """Return a task of the instance. Raises ApiError DCS.3022 or DCS.4958."""
        with self._database.read() as connection:
            task = task_of(connection, principal.project_id, instance_id, task_id)
            return _controlled(connection, task)

    def find(self, principal: Principal, task_id: str) -> ControlledTask:
        """Return a task of the project, also after the deletion of its instance. Raises ApiError DCS.4958."""
        with self._database.read() as connection:
            task = task_of_project(connection, principal.project_id, task_id)
            return _controlled(connection, task)

    def current(self, principal: Principal, instance_id: str, task_id: str) -> Task:
        """Return the present state of a task, also after the deletion of its instance. Raises ApiError DCS.3022 or
        DCS.4958."""
        with self._database.read() as connection:
            task = task_on_record(connection, principal.project_id, instance_id, task_id)
            return with_tasks_before(connection, task)

    async def cached(self, project_id: str, instance_id: str, task_id: str, render: Callable[[Task], View]) -> View:
        """Return `render(task)` for the present state of the task, cached until the database changes, unless the task
        waits for a time. `render` must be pure, and callers share its result. Raises ApiError DCS.3022 or DCS.4958."""
        view = await self._cache.ask(_cacheable, render, project_id, instance_id, task_id)
        if isinstance(view, _Scheduled):
            view = await self._database.answer(_rendered, render, project_id, instance_id, task_id)
        if isinstance(view, _NotFound):
            raise ApiError(view.code)
        return view

    def page_of_instance(
        self, principal: Principal, instance_id: str, period: Period, *, offset: int, limit: int
    ) -> tuple[int, list[Task]]:
        """Return the number of tasks of the instance, and one page of them without steps, newest first. Raises ApiError
        DCS.3022."""
        with self._database.read() as connection:
            instance_of(connection, principal.project_id, instance_id)
            return tasks.page(
                connection, instance_id=instance_id, offset=offset, limit=limit, start=period.start, end=period.end
            )

    def page_of_project(
        self, principal: Principal, period: Period, *, offset: int, limit: int
    ) -> tuple[int, list[Task]]:
        """Return the number of tasks of the project, including those of deleted instances, and one page of them without
        steps, newest first."""
        with self._database.read() as connection:
            return tasks.page(
                connection,
                project_id=principal.project_id,
                offset=offset,
                limit=limit,
                start=period.start,
                end=period.end,
            )

    def kind(self, principal: Principal, instance_id: str, task_id: str) -> str | None:
        """Return the kind of a task of the instance, or None if the task does not exist."""
        with self._database.read() as connection:
            task = tasks.of_project(connection, principal.project_id, task_id)
        return task.kind if task is not None and task.instance_id == instance_id else None

    def expiry_scans(
        self, principal: Principal, instance_id: str, *, offset: int, limit: int
    ) -> tuple[int, list[Task]]:
        """Return the number of scans of the instance for expired keys, and one page of them, newest first, with steps.
        Raises ApiError DCS.3022."""
        with self._database.read() as connection:
            instance_of(connection, principal.project_id, instance_id)
            count, page = tasks.of_kind(connection, instance_id, SCAN_EXPIRED.kind, offset=offset, limit=limit)
            return count, [tasks.load(connection, task.id) for task in page]

    def configuration_changes(
        self, principal: Principal, instance_id: str, *, offset: int, limit: int
    ) -> tuple[int, list[Task]]:
        """Return the number of tasks that change parameters of the instance, and one page of them, newest first. Raises
        ApiError DCS.3022."""
        with self._database.read() as connection:
            instance_of(connection, principal.project_id, instance_id)
            return tasks.of_kind(connection, instance_id, CONFIGURE.kind, offset=offset, limit=limit)

    def configuration_change(self, principal: Principal, instance_id: str, task_id: str) -> Task:
        """Return a task that changes parameters of the instance. Raises ApiError DCS.3022 or DCS.4958."""
        with self._database.read() as connection:
            task = task_of(connection, principal.project_id, instance_id, task_id)
        if task.kind != CONFIGURE.kind:
            raise ApiError(errors.TASK_NOT_FOUND)
        return task

    def delete(self, principal: Principal, task_id: str, instance_id: str | None = None) -> None:
        """Delete an ended task, of this instance or else of any instance of the project. Raises ApiError DCS.3022,
        DCS.4958, or DCS.4957 if the task has not ended."""
        with self._database.write() as connection:
            if instance_id is None:
                task = task_of_project(connection, principal.project_id, task_id)
            else:
                task = task_of(connection, principal.project_id, instance_id, task_id)
            if task.status not in ENDED:
                raise ApiError(errors.TASK_STATE_CONFLICT, reason="it has not ended")
            tasks.remove(connection, task)


def _controlled(connection: sa.Connection, task: Task) -> ControlledTask:
    shown = at_present(with_tasks_before(connection, task), now_ms())
    return ControlledTask(shown, task_controls.get(connection, task.id))


class _NotFound(msgspec.Struct, frozen=True):
    code: str


class _Scheduled(msgspec.Struct, frozen=True):
    """The task waits for a maintenance window: its remaining time changes while the database does not."""


def _cacheable(
    connection: sa.Connection, render: Callable[[Task], View], project_id: str, instance_id: str, task_id: str
) -> View | _NotFound | _Scheduled:
    try:
        if task_on_record(connection, project_id, instance_id, task_id).is_scheduled:
            return _Scheduled()
    except ApiError as error:
        return _NotFound(error.code)
    return _rendered(connection, render, project_id, instance_id, task_id)


def _rendered(
    connection: sa.Connection, render: Callable[[Task], View], project_id: str, instance_id: str, task_id: str
) -> View | _NotFound:
    """Render a task. Return a missing task as a value instead of an error, so that it is cached too."""
    try:
        return render(with_tasks_before(connection, task_on_record(connection, project_id, instance_id, task_id)))
    except ApiError as error:
        return _NotFound(error.code)
