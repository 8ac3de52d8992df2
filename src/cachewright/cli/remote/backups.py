"""`cachewright backups`."""

import os
from pathlib import Path
from typing import Annotated, Any

import httpx
from cyclopts import App, Parameter, validators

from cachewright.cli.remote.following import Wait, follow
from cachewright.cli.remote.lookup import Instance, found
from cachewright.cli.remote.output import AsJson, print_json, print_table, size
from cachewright.client.account import DEFAULT_TARGET, Target
from cachewright.client.errors import CommandFailed, Unreachable
from cachewright.client.http import ApiClient

app = App(name="backups", help="Backups of instances: list, create, restore, delete, links, download, verify.")
app.command("cachewright.cli.admin.backups:verify", help="Read a backup back, and verify all of it.")
app.command("cachewright.cli.remote.restores:restore", help="Replace the data of an instance with that of a backup.")
app.command("cachewright.cli.remote.write_logs:write_log", help="Show the past moments that can be backed up.")
app.command("cachewright.cli.remote.restores:restores", help="List restores into an instance, newest first.")

_ALL = 1000
_SHORT_SECONDS, _LONG_SECONDS = 300, 24 * 3600
_SILENCE_SECONDS = 60.0
_OWNER_ONLY = 0o600

Backup = Annotated[str, Parameter(help="Id of a backup.")]
Remark = Annotated[str, Parameter(help="Remark, at most 128 characters.")]
Expires = Annotated[
    int,
    Parameter(
        help="Seconds for which the links are valid.",
        validator=validators.Number(gte=_SHORT_SECONDS, lte=_LONG_SECONDS),
    ),
]


@app.command(name="list")
def show_all(
    instance: Annotated[
        str | None, Parameter(help="Id or name of an instance. Without it, all instances of the project.")
    ] = None,
    *,
    target: Target = DEFAULT_TARGET,
    json: AsJson = False,
) -> None:
    """List backups, newest first, also those of deleted instances.

    Example: cachewright backups list cache
    """
    server = ApiClient(target.account())
    path = "backups" if instance is None else f"instances/{found(server, instance)['instance_id']}/backups"
    body = server.ask("GET", path, limit=_ALL)
    if json:
        print_json(body)
        return
    rows = [
        (
            item["backup_id"],
            item["instance_name"],
            item["status"],
            f"{float(item['progress']):.0f} %" if item["status"] == "backuping" else size(item["size"]),
            item["backup_type"],
            item["taken_at"],
            item["expires_at"],
            item["error_code"] or item["remark"],
        )
        for item in body["backup_record_response"]
    ]
    print_table(("ID", "INSTANCE", "STATUS", "SIZE", "TYPE", "TAKEN", "EXPIRES", "REMARK"), rows, right=("SIZE",))


@app.command
def create(
    instance: Instance,
    *,
    remark: Remark = "",
    moment: Annotated[
        str | None,
        Parameter(help="Second in the past whose data is backed up; see `cachewright backups write-log`."),
    ] = None,
    target: Target = DEFAULT_TARGET,
    wait: Wait = False,
    json: AsJson = False,
) -> None:
    """Back up an instance: all shards at one moment, now or in the past.

    Example: cachewright backups create cache --moment 2026-11-27T08:30:00Z --wait
    """
    server = ApiClient(target.account())
    instance_id = found(server, instance)["instance_id"]
    body = {"remark": remark, "backup_format": "rdb"} | ({} if moment is None else {"moment": moment})
    answer = server.ask("POST", f"instances/{instance_id}/backups", body)
    follow(server, instance_id, answer if json else answer["backup_id"], wait, json)


@app.command
def delete(backup: Backup, *, target: Target = DEFAULT_TARGET) -> None:
    """Delete a backup.

    Example: cachewright backups delete 8f6a2c1e-6f0e-4d7c-9a41-5e0f3c8f9a10
    """
    server = ApiClient(target.account())
    server.ask("DELETE", _path(server, backup))


@app.command
def links(
    backup: Backup,
    *,
    expires: Expires = _SHORT_SECONDS,
    target: Target = DEFAULT_TARGET,
    json: AsJson = False,
) -> None:
    """Print links to the files of a backup. Anyone who has a link can read all data in its file until
    the link expires.

    Example: cachewright backups links 8f6a2c1e-6f0e-4d7c-9a41-5e0f3c8f9a10 --expires 3600
    """
    body = _links(ApiClient(target.account()), backup, expires)
    if json:
        print_json(body)
        return
    for item in body["links"]:
        print(item["link"])


@app.command
def download(
    backup: Backup,
    *,
    folder: Annotated[Path, Parameter(help="Folder for the files.")] = Path(),
    target: Target = DEFAULT_TARGET,
) -> None:
    """Download the RDB files of a backup, one for each shard, decrypted and verified by the server.

    Example: cachewright backups download 8f6a2c1e-6f0e-4d7c-9a41-5e0f3c8f9a10 --folder ./files
    """
    account = target.account()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with httpx.Client(verify=account.ca_file or True, timeout=_SILENCE_SECONDS) as http:
            for item in _links(ApiClient(account), backup, _LONG_SECONDS)["links"]:
                path = folder / Path(item["file_name"]).name
                _download(http, item["link"], path)
                print(path)
    except OSError as error:
        raise CommandFailed(f"cannot write to {folder}: {error.strerror or error}") from error
    except httpx.HTTPError as error:
        raise Unreachable(f"the download was interrupted: {error or type(error).__name__}") from error


def _download(http: httpx.Client, link: str, path: Path) -> None:
    """Store a file that only its owner can read; whole or not at all."""
    partial = path.with_name(f"{path.name}.partial")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY)
    with os.fdopen(descriptor, "wb") as file, http.stream("GET", link) as answer:
        if not answer.is_success:
            content = answer.read()
            raise CommandFailed(f"the server refuses the file: HTTP {answer.status_code} {content[:200]!r}")
        for part in answer.iter_bytes():
            file.write(part)
    partial.replace(path)


def _links(server: ApiClient, backup: str, seconds: int) -> Any:
    return server.ask("POST", f"{_path(server, backup)}/links", {"expiration": seconds})


def _path(server: ApiClient, backup: str) -> str:
    """Path of a backup, which contains its instance. CommandFailed if the project has no such backup."""
    offset = 0
    while page := server.ask("GET", "backups", limit=_ALL, offset=offset)["backup_record_response"]:
        for item in page:
            if item["backup_id"] == backup:
                return f"instances/{item['instance_id']}/backups/{backup}"
        offset += len(page)
    raise CommandFailed(f"there is no backup {backup!r}; see `cachewright backups list`")
