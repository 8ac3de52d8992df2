"""Queries on background tasks.

`save` is a compare-and-set on `revision`: a worker that was replaced while it was suspended cannot overwrite the
records of its successor. A change of the status stores its webhook events in the same transaction.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from cachewright.errors import CachewrightError
from cachewright.model.tasks import ENDED, UNFINISHED, Step, Task
from cachewright.store import key_analyses, task_controls, webhooks
from cachewright.store.rows import columns, from_row, to_row
from cachewright.store.tables import task_counts, tasks

_WITHOUT_STEPS = [column for column in tasks.c if column.name != "steps"]
_IMMUTABLE = {
    *("id", "instance_id", "project_id", "created_at"),
    *("kind", "name", "params", "details", "user_id", "user_name"),
    "begins_at",  # of tasks that no worker has
}
_MUTABLE = [name for name in Task.__struct_fields__ if name not in _IMMUTABLE]
"""Columns that `save` writes. Writing unchanged indexed columns would make SQLite rewrite their index entries."""

_ACTIVE = (
    tasks.c.status.in_(UNFINISHED),
    sa.or_(tasks.c.status != "WAITING", tasks.c.begins_at.is_(None)),
)


class StaleTask(CachewrightError):
    """Another worker has written this task since it was read."""


def add(connection: sa.Connection, task: Task) -> None:
    connection.execute(tasks.insert().values(to_row(task)))
    _count(connection, [task], 1)
    webhooks.announce(connection, task)


def last_created_at(connection: sa.Connection, project_id: str) -> int:
    """Return when the project's newest task was created (epoch milliseconds), 0 if it has none."""
    newest = sa.select(sa.func.max(tasks.c.created_at)).where(tasks.c.project_id == project_id)
    return connection.execute(newest).scalar() or 0


def get(connection: sa.Connection, instance_id: str, task_id: str) -> Task | None:
    query = tasks.select().where(tasks.c.id == task_id, tasks.c.instance_id == instance_id)
    row = connection.execute(query).one_or_none()
    return from_row(Task, row._mapping) if row else None


def of_project(connection: sa.Connection, project_id: str, task_id: str) -> Task | None:
    query = tasks.select().where(tasks.c.id == task_id, tasks.c.project_id == project_id)
    row = connection.execute(query).one_or_none()
    return from_row(Task, row._mapping) if row else None


def find(connection: sa.Connection, task_id: str) -> Task | None:
    """Return a task of any project."""
    row = connection.execute(tasks.select().where(tasks.c.id == task_id)).one_or_none()
    return from_row(Task, row._mapping) if row else None


def of_ids(connection: sa.Connection, task_ids: Iterable[str]) -> dict[str, Task]:
    """Return the existing tasks with these ids, by id, without their steps."""
    query = sa.select(*_WITHOUT_STEPS).where(tasks.c.id.in_(list(task_ids)))
    return {row.id: from_row(Task, row._mapping) for row in connection.execute(query)}


def load(connection: sa.Connection, task_id: str) -> Task:
    """Return an existing task, for its worker. Raises NoResultFound."""
    row = connection.execute(tasks.select().where(tasks.c.id == task_id)).one()
    return from_row(Task, row._mapping)


def page(
    connection: sa.Connection,
    *,
    offset: int,
    limit: int,
    instance_id: str | None = None,
    project_id: str | None = None,
    start: int | None = None,
    end: int | None = None,
) -> tuple[int, list[Task]]:
    """Return the number of tasks of an instance or a project, created from `start` to `end` (epoch milliseconds), and
    one page of them, newest first, without steps.

    The cost of the number and of the first pages does not depend on the length of the history.
    """
    owner = tasks.c.project_id == project_id if instance_id is None else tasks.c.instance_id == instance_id
    within = [owner, *_created(start, end)]
    if len(within) > 1:
        counted = sa.select(sa.func.count()).select_from(tasks).where(*within)
    else:
        counted = sa.select(task_counts.c.tasks).where(task_counts.c.owner == (instance_id or project_id))
    newest = (tasks.c.created_at.desc(), tasks.c.sequence.desc())
    # Reads only the index, so that a far page does not read the rows of the pages before it.
    chosen = sa.select(tasks.c.sequence).where(*within).order_by(*newest).offset(offset).limit(limit)
    query = sa.select(*_WITHOUT_STEPS).where(tasks.c.sequence.in_(chosen.scalar_subquery())).order_by(*newest)
    count = connection.execute(counted).scalar() or 0
    return count, [from_row(Task, row._mapping) for row in connection.execute(query)]


def of_kind(
    connection: sa.Connection,
    instance_id: str,
    kind: str,
    *,
    offset: int,
    limit: int,
    start: int | None = None,
    end: int | None = None,
) -> tuple[int, list[Task]]:
    """Return the number of an instance's tasks of one kind, created from `start` to `end` (epoch milliseconds), and one
    page of them, newest first, without steps."""
    chosen = [tasks.c.instance_id == instance_id, tasks.c.kind == kind, *_created(start, end)]
    count = connection.execute(sa.select(sa.func.count()).select_from(tasks).where(*chosen)).scalar_one()
    newest = (tasks.c.created_at.desc(), tasks.c.sequence.desc())
    query = sa.select(*_WITHOUT_STEPS).where(*chosen).order_by(*newest).offset(offset).limit(limit)
    return count, [from_row(Task, row._mapping) for row in connection.execute(query)]


def _created(start: int | None, end: int | None) -> Iterator[sa.ColumnElement[bool]]:
    """Yield the conditions for tasks that were created from `start` to `end`; None for no bound."""
    if start is not None:
        yield tasks.c.created_at >= start
    if end is not None:
        yield tasks.c.created_at <= end


def latest_of_kind(connection: sa.Connection, instance_id: str, kind: str) -> int | None:
    """Return when the newest task of this kind was stored, epoch milliseconds; None without one."""
    chosen = (tasks.c.instance_id == instance_id, tasks.c.kind == kind)
    newest: int | None = connection.execute(sa.select(sa.func.max(tasks.c.created_at)).where(*chosen)).scalar_one()
    return newest


def with_backups(connection: sa.Connection, failed_since: int) -> list[Task]:
    """Return the tasks that read a backup: those that have not ended, and those that have failed since that time. They
    have no steps."""
    alive = tasks.c.status.in_(UNFINISHED) | ((tasks.c.status == "FAILED") & (tasks.c.end_time >= failed_since))
    rows = connection.execute(sa.select(*_WITHOUT_STEPS).where(alive))
    return [task for row in rows if (task := from_row(Task, row._mapping)).params.get("backup_id")]


def begun(connection: sa.Connection, instance_id: str, kinds: Sequence[str], since: int | None) -> Task | None:
    """Return the first task of these kinds that runs, or has ended `since` (epoch milliseconds), without its steps;
    None without one."""
    runs = tasks.c.status.in_(UNFINISHED) & tasks.c.begin_time.is_not(None)
    met = runs if since is None else runs | (tasks.c.end_time >= since)
    chosen = (tasks.c.instance_id == instance_id, tasks.c.kind.in_(kinds), met)
    query = sa.select(*_WITHOUT_STEPS).where(*chosen).order_by(tasks.c.begin_time).limit(1)
    row = connection.execute(query).one_or_none()
    return from_row(Task, row._mapping) if row else None


def unfinished_of_kind(connection: sa.Connection, kind: str) -> list[Task]:
    """Return the unfinished tasks of one kind, without their steps."""
    query = sa.select(*_WITHOUT_STEPS).where(tasks.c.status.in_(UNFINISHED), tasks.c.kind == kind)
    return [from_row(Task, row._mapping) for row in connection.execute(query)]


def unfinished(connection: sa.Connection) -> list[Task]:
    """Return all unfinished tasks, oldest first, without their steps."""
    query = sa.select(*_WITHOUT_STEPS).where(tasks.c.status.in_(UNFINISHED)).order_by(tasks.c.sequence)
    return [from_row(Task, row._mapping) for row in connection.execute(query)]


def active_of_kind(connection: sa.Connection, kind: str) -> list[Task]:
    """Return the unfinished tasks of one kind that wait for no maintenance window, without their steps."""
    return [task for task in unfinished_of_kind(connection, kind) if not task.is_scheduled]


def active(connection: sa.Connection) -> list[Task]:
    """Return all unfinished tasks that wait for no maintenance window, oldest first, without their steps."""
    return [task for task in unfinished(connection) if not task.is_scheduled]


def worked_on_now(connection: sa.Connection) -> set[str]:
    """Return the ids of instances with an unfinished task that waits for no maintenance window."""
    return set(connection.execute(sa.select(tasks.c.instance_id).where(*_ACTIVE)).scalars())


def steps_now(connection: sa.Connection, instance_id: str | None = None) -> list[tuple[str, Sequence[Step]]]:
    """Return the steps of each task that runs, with the id of its instance, and no steps for one that waits in the
    queue of its instance.

    :param instance_id: only tasks of this instance.
    """
    steps = sa.case((tasks.c.status == "EXECUTING", tasks.c.steps), else_="[]").label("steps")
    query = sa.select(tasks.c.instance_id, steps).where(*_ACTIVE)
    if instance_id is not None:
        query = query.where(tasks.c.instance_id == instance_id)
    rows = connection.execute(query)
    return [(row.instance_id, msgspec.json.decode(row.steps, type=tuple[Step, ...])) for row in rows]


def steps_ended_since(connection: sa.Connection, since: int) -> list[tuple[str, Sequence[Step]]]:
    """Return the steps of each task that has ended `since` (epoch milliseconds), with the id of its instance."""
    rows = connection.execute(sa.select(tasks.c.instance_id, tasks.c.steps).where(tasks.c.end_time >= since))
    return [(row.instance_id, msgspec.json.decode(row.steps, type=tuple[Step, ...])) for row in rows]


def scheduled(connection: sa.Connection) -> list[Task]:
    """Return all tasks that wait for a maintenance window, oldest first, without their steps."""
    return [task for task in unfinished(connection) if task.is_scheduled]


def worked_on(connection: sa.Connection, *kinds: str) -> set[str]:
    """Return the ids of instances with an unfinished task of one of these kinds."""
    query = sa.select(tasks.c.instance_id).where(tasks.c.kind.in_(kinds), tasks.c.status.in_(UNFINISHED))
    return set(connection.execute(query).scalars())


def unfinished_of(connection: sa.Connection, instance_id: str) -> list[Task]:
    """Return the instance's unfinished tasks, oldest first, without their steps."""
    query = sa.select(*_WITHOUT_STEPS).where(tasks.c.instance_id == instance_id, tasks.c.status.in_(UNFINISHED))
    return [from_row(Task, row._mapping) for row in connection.execute(query.order_by(tasks.c.sequence))]


def active_of(connection: sa.Connection, instance_id: str) -> list[Task]:
    """Return the instance's unfinished tasks that wait for no maintenance window, oldest first, without their steps."""
    return [task for task in unfinished_of(connection, instance_id) if not task.is_scheduled]


def save(connection: sa.Connection, task: Task) -> Task:
    """Replace the stored revision `task.revision` and return the task with the next revision. Raises StaleTask if the
    stored revision is another one."""
    before = connection.execute(sa.select(tasks.c.status).where(tasks.c.id == task.id)).scalar_one_or_none()
    saved = msgspec.structs.replace(task, revision=task.revision + 1)
    values = columns(**{name: getattr(saved, name) for name in _MUTABLE})
    changed = connection.execute(
        tasks.update().where(tasks.c.id == task.id, tasks.c.revision == task.revision).values(values)
    )
    if changed.rowcount != 1:
        raise StaleTask(task.id)
    if saved.status != before:
        webhooks.announce(connection, saved)
    return saved


def change(connection: sa.Connection, task_id: str, **values: Any) -> None:
    connection.execute(tasks.update().where(tasks.c.id == task_id).values(columns(**values)))
    if "status" in values:
        webhooks.announce(connection, load(connection, task_id))


def remove(connection: sa.Connection, task: Task) -> None:
    _remove(connection, [task])


def purge(connection: sa.Connection, ended_before: int, limit: int) -> int:
    """Delete at most `limit` tasks that ended before `ended_before` (epoch milliseconds). Return their number."""
    ended = sa.select(*_WITHOUT_STEPS).where(tasks.c.status.in_(ENDED), tasks.c.end_time < ended_before).limit(limit)
    old = [from_row(Task, row._mapping) for row in connection.execute(ended)]
    _remove(connection, old)
    return len(old)


def _remove(connection: sa.Connection, removed: Sequence[Task]) -> None:
    ids = [task.id for task in removed]
    task_controls.remove(connection, ids)
    key_analyses.remove(connection, ids)
    connection.execute(tasks.delete().where(tasks.c.id.in_(ids)))
    _count(connection, removed, -1)


def _count(connection: sa.Connection, changed: Iterable[Task], by: int) -> None:
    """Update the number of tasks of each instance and each project."""
    owners = Counter(owner for task in changed for owner in (task.instance_id, task.project_id))
    for owner, times in owners.items():
        update = task_counts.update().where(task_counts.c.owner == owner)
        if not connection.execute(update.values(tasks=task_counts.c.tasks + by * times)).rowcount:
            connection.execute(task_counts.insert().values(owner=owner, tasks=by * times))
    connection.execute(task_counts.delete().where(task_counts.c.owner.in_(list(owners)), task_counts.c.tasks <= 0))
