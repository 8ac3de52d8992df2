"""Migrations of data from other servers and from files into an instance."""

from typing import Any

from litestar import Response, delete, get, post, put

from cachewright.api import requests, responses
from cachewright.api.auth.authorization import name_subjects
from cachewright.api.auth.permissions import needs
from cachewright.api.online_migration_validation import import_config, migration_config, shown_files
from cachewright.api.routes.parameters import Body, Call, OnlineMigrations, Query, TaskId, endpoint, while_connected
from cachewright.api.schemas import online_migration_bodies as bodies
from cachewright.api.schemas import online_migrations as schemas
from cachewright.api.texts import require_line, require_lines
from cachewright.errors import ApiError
from cachewright.services.online_migrations import OnlineMigrationService

_PROJECT = "/v2/{project_id:str}"
_TASK = _PROJECT + "/migration-task/{task_id:str}"
_READ, _CHANGE = needs("dcs:migrationTask:list"), needs("dcs:migrationTask:modify")

_STOP_SECONDS = 30.0


@post(_PROJECT + "/migration-task", status_code=200, opt=_CHANGE)
@endpoint
def create_migration_task(
    request: Call, online_migrations: OnlineMigrations, body: Body[bodies.MigrationBody]
) -> Response[schemas.StartedMigration]:
    """CreateMigrationTask: starts a migration from another server, or an import of files."""
    wanted = body.read()
    require_lines("description", wanted.description)
    attributes: dict[str, Any] = {"network_type": wanted.network_type}
    if wanted.migration_type == "backupfile_import":
        config = import_config(wanted)
        attributes["backup_files"] = shown_files(wanted.backup_files)
    else:
        config = migration_config(wanted)
    name_subjects(request, [config.target_id])
    shown = online_migrations.start(
        requests.principal(request), wanted.task_name, wanted.description, attributes, config
    )
    return responses.json(schemas.started(shown))


@post(_PROJECT + "/migration/instance", status_code=200, opt=_CHANGE)
@endpoint
def create_online_migration_task(
    request: Call, online_migrations: OnlineMigrations, body: Body[bodies.OnlineTaskBody]
) -> Response[schemas.CreatedOnlineTask]:
    """CreateOnlineMigrationTask: creates a migration that SetOnlineMigrationTask configures and starts."""
    wanted = body.read()
    require_lines("description", wanted.description)
    labels = {name: getattr(wanted, name) for name in ("vpc_id", "subnet_id", "security_group_id")}
    for name, label in labels.items():
        require_line(name, label)
    created = online_migrations.create(requests.principal(request), wanted.name, wanted.description, labels)
    return responses.json(schemas.CreatedOnlineTask(created.id, created.id))


@post(_PROJECT + "/migration/{task_id:str}/task", status_code=200, opt=_CHANGE)
@endpoint
def set_online_migration_task(
    request: Call, online_migrations: OnlineMigrations, task_id: TaskId, body: Body[bodies.ConfigBody]
) -> Response[schemas.StartedMigration]:
    """SetOnlineMigrationTask: configures a migration, and starts it."""
    config = migration_config(body.read())
    name_subjects(request, [config.target_id])
    return responses.json(schemas.started(online_migrations.configure(requests.principal(request), task_id, config)))


@get(_PROJECT + "/migration-tasks", opt=_READ)
@endpoint
def list_migration_task(
    request: Call, online_migrations: OnlineMigrations, wanted: Query[bodies.MigrationsQuery]
) -> Response[schemas.MigrationList]:
    """ListMigrationTask: migrations of the project, newest first."""
    query = wanted.read()
    found = online_migrations.all(requests.principal(request), query.name)
    page = found[query.offset : query.offset + query.limit]
    return responses.json(schemas.MigrationList(len(found), [schemas.listed(shown) for shown in page]))


@get(_TASK, opt=_READ)
@endpoint
def show_migration_task(
    request: Call, online_migrations: OnlineMigrations, task_id: TaskId
) -> Response[schemas.MigrationTask]:
    """ShowMigrationTask: a migration, without the password of its source."""
    return responses.json(schemas.migration_task(online_migrations.get(requests.principal(request), task_id)))


@get(_TASK + "/stats", opt=_READ)
@endpoint
def show_migration_task_stats(
    request: Call, online_migrations: OnlineMigrations, task_id: TaskId
) -> Response[schemas.MigrationStats]:
    """ShowMigrationTaskStats: progress and measured figures of a migration."""
    return responses.json(schemas.stats(online_migrations.get(requests.principal(request), task_id)))


@get(_TASK + "/logs", opt=_READ)
@endpoint
def list_migration_task_logs(
    request: Call, online_migrations: OnlineMigrations, task_id: TaskId, wanted: Query[bodies.LogsQuery]
) -> Response[schemas.MigrationLogs]:
    """ListMigrationTaskLogs: what has happened to a migration, newest first."""
    query = wanted.read()
    count, page = online_migrations.events(
        requests.principal(request), task_id, query.log_level, offset=query.offset, limit=query.limit
    )
    return responses.json(schemas.MigrationLogs(count, [schemas.log_entry(event) for event in page]))


@post(_TASK + "/stop", status_code=200, opt=_CHANGE)
@endpoint
def stop_migration_task(
    request: Call, online_migrations: OnlineMigrations, task_id: TaskId
) -> Response[schemas.MigrationTask]:
    """StopMigrationTask: stops a migration. Copied keys stay in the instance."""
    return responses.json(schemas.migration_task(online_migrations.stop(requests.principal(request), task_id)))


@post(_TASK + "/sync-stop", status_code=204, opt=_CHANGE)
@endpoint
async def stop_migration_task_sync(
    request: Call, online_migrations: OnlineMigrations, task_id: TaskId
) -> Response[None]:
    """StopMigrationTaskSync: stops a migration, and responds when it has ended, or after 30 seconds."""
    principal = requests.principal(request)
    await while_connected(request, online_migrations.stopped(principal, task_id, _STOP_SECONDS))
    return responses.no_content()


@post(_PROJECT + "/migration-task/batch-stop", status_code=200, opt=_CHANGE)
@endpoint
def batch_stop_migration_tasks(
    request: Call, online_migrations: OnlineMigrations, body: Body[bodies.MigrationIds]
) -> Response[schemas.MigrationBatchResults]:
    """BatchStopMigrationTasks: stops several migrations."""
    return responses.json(_each(request, online_migrations, body.read().migration_tasks, restart=False))


@post(_PROJECT + "/migration-tasks/batch-restart", status_code=200, opt=_CHANGE)
@endpoint
def batch_restart_online_migration_tasks(
    request: Call, online_migrations: OnlineMigrations, body: Body[bodies.MigrationIds]
) -> Response[schemas.MigrationBatchResults]:
    """BatchRestartOnlineMigrationTasks: starts migrations again that have failed or were stopped."""
    return responses.json(_each(request, online_migrations, body.read().migration_tasks, restart=True))


@put(_TASK, status_code=200, opt=_CHANGE)
@endpoint
def update_migration_task(
    request: Call, online_migrations: OnlineMigrations, task_id: TaskId, body: Body[bodies.ResumeModeBody]
) -> Response[schemas.MigrationTask]:
    """UpdateMigrationTask: sets whether a migration waits for its source (`auto`) or fails."""
    mode = body.read().resume_mode
    shown = online_migrations.set_resume_mode(requests.principal(request), task_id, mode)
    return responses.json(schemas.migration_task(shown))


@delete(_PROJECT + "/migration-tasks/delete", status_code=200, opt=_CHANGE)
@endpoint
def delete_migration_task(
    request: Call, online_migrations: OnlineMigrations, body: Body[bodies.DeletedIds]
) -> Response[bodies.DeletedIds]:
    """DeleteMigrationTask: deletes the records of migrations that have ended."""
    ids = [requests.task_id(text) for text in body.read().task_id_list]
    name_subjects(request, ids)
    online_migrations.delete(requests.principal(request), list(dict.fromkeys(ids)))
    return responses.json(bodies.DeletedIds(ids))


@post(_TASK + "/cut-over", status_code=200, opt=_CHANGE)
@endpoint
def cut_over_migration_task(
    request: Call, online_migrations: OnlineMigrations, task_id: TaskId
) -> Response[schemas.MigrationTask]:
    """Ends an incremental migration when all is copied. Call it when the source gets no more writes."""
    return responses.json(schemas.migration_task(online_migrations.cut_over(requests.principal(request), task_id)))


def _each(
    request: Call, online_migrations: OnlineMigrationService, ids: list[str], *, restart: bool
) -> schemas.MigrationBatchResults:
    principal = requests.principal(request)
    name_subjects(request, ids)
    results = []
    for text in dict.fromkeys(ids):
        try:
            migration_id = requests.task_id(text)
            act = online_migrations.restart if restart else online_migrations.stop
            act(principal, migration_id)
        except ApiError as refusal:
            results.append(
                schemas.MigrationBatchResult(
                    result="failed", task_id=text, error_code=refusal.code, error_msg=refusal.message
                )
            )
        else:
            results.append(schemas.MigrationBatchResult(result="success", task_id=text))
    return schemas.MigrationBatchResults(results)
