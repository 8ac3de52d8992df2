"""Backups of instances, and downloads of their files."""

from litestar import Response, delete, get, post
from litestar.response import Stream

from cachewright.api import requests, responses
from cachewright.api.auth.permissions import OPEN, needs
from cachewright.api.public_url import public_url
from cachewright.api.routes.parameters import (
    BackupId,
    Backups,
    Body,
    Call,
    InstanceId,
    OptionalBody,
    Query,
    ServerSettings,
    endpoint,
)
from cachewright.api.schemas import backups as schemas
from cachewright.api.schemas.tasks import ListQuery
from cachewright.api.texts import require_line

_PROJECT = "/v2/{project_id:str}"
_BACKUPS = _PROJECT + "/instances/{instance_id:str}/backups"
_BACKUP = _BACKUPS + "/{backup_id:str}"
FILES = "/v2/backup-files"
"""Path of a file. The token in its query says which."""


@post(_BACKUPS, status_code=200, opt=needs("dcs:instance:backup"))
@endpoint
def copy_instance(
    request: Call, backups: Backups, instance_id: InstanceId, body: OptionalBody[schemas.CopyBody]
) -> Response[schemas.CopiedInstance]:
    """CopyInstance: starts a background task that makes a backup; with the extension `moment` one of past data."""
    wanted = body.read() if body.given else schemas.CopyBody()
    if wanted.backup_format != "rdb":
        raise requests.refused("backup_format", "only rdb is supported")
    require_line("remark", wanted.remark)
    moment = None if wanted.moment is None else requests.second("moment", wanted.moment)
    created = backups.create(requests.principal(request), instance_id, wanted.remark, moment)
    return responses.json(schemas.CopiedInstance(created))


@get(_BACKUPS, opt=needs("dcs:instance:listBackups"))
@endpoint
def list_backup_records(
    request: Call, backups: Backups, instance_id: InstanceId, wanted: Query[ListQuery]
) -> Response[schemas.BackupRecords]:
    """ListBackupRecords: backups of an instance, newest first, also after its deletion."""
    return responses.json(_page(request, backups, wanted.read(), instance_id))


@get(_PROJECT + "/backups", opt=needs("dcs:instance:listBackups"))
@endpoint
def list_backups(request: Call, backups: Backups, wanted: Query[ListQuery]) -> Response[schemas.BackupRecords]:
    """Lists the backups of all instances of the project, also of deleted ones, newest first."""
    return responses.json(_page(request, backups, wanted.read(), None))


@delete(_BACKUP, status_code=204, opt=needs("dcs:instance:deleteBackup"))
@endpoint
def delete_backup_file(request: Call, backups: Backups, instance_id: InstanceId, backup_id: BackupId) -> Response[None]:
    """DeleteBackupFile: deletes a backup. Its files are removed in the background."""
    backups.delete(requests.principal(request), instance_id, backup_id)
    return responses.no_content()


@post(_BACKUP + "/links", status_code=200, opt=needs("dcs:instance:downloadBackup"))
@endpoint
async def list_backup_file_links(
    request: Call,
    *,
    backups: Backups,
    settings: ServerSettings,
    instance_id: InstanceId,
    backup_id: BackupId,
    body: Body[schemas.LinksBody],
) -> Response[schemas.FileLinks]:
    """ListBackupFileLinks: links by which the files of a backup can be downloaded, decrypted, until they expire."""
    seconds = body.read().expiration
    files = await backups.files(requests.principal(request), instance_id, backup_id, seconds)
    here = public_url(request.scope, settings.public_url) + FILES
    links = [schemas.FileLink(file.name, f"{here}?token={file.token}") for file in files]
    return responses.json(schemas.FileLinks(backup_id, backups.bucket, links))


@get(FILES, opt=OPEN)
@endpoint
async def download_backup_file(request: Call, backups: Backups, wanted: Query[schemas.FileQuery]) -> Stream:
    """A file of a backup, by a link of ListBackupFileLinks."""
    file, content = await backups.open(wanted.read().token)
    headers = {
        "content-length": str(file.size),
        "content-disposition": f'attachment; filename="{file.name}"',
        "cache-control": "no-store",
    }
    return Stream(content, media_type="application/octet-stream", headers=headers)


def _page(request: Call, backups: Backups, query: ListQuery, instance_id: str | None) -> schemas.BackupRecords:
    start, end = requests.period(query)
    count, page = backups.page(
        requests.principal(request),
        instance_id=instance_id,
        offset=query.offset,
        limit=query.limit,
        start=start,
        end=end,
    )
    return schemas.BackupRecords(count, [schemas.shown(record) for record in page])
