"""Checks of the data directory, the database and the storage of backups."""

import asyncio
import os
import stat
from collections.abc import Iterator
from contextlib import closing

from cachewright.backups.storage import Storage, StorageFailed
from cachewright.cli.doctor.finding import Finding
from cachewright.config import Settings
from cachewright.errors import DatabaseUnavailable
from cachewright.store.database import DatabaseNotReady
from cachewright.store.encryption import WrongKey
from cachewright.store.opening import open_in_use

_DATABASE_REMEDY = "Make it reachable, or restore it from a backup with its key file."


def check_folder(settings: Settings) -> Iterator[Finding]:
    folder = settings.data_dir
    if not folder.exists():
        yield Finding("data directory", "ok", f"{folder} does not exist yet; the first start creates it")
        return
    mode = stat.S_IMODE(folder.stat().st_mode)
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        yield Finding("data directory", "fail", f"{folder} cannot be written", f"chown it to {os.geteuid()}.")
    elif mode & (stat.S_IRWXG | stat.S_IRWXO):
        remedy = f"chmod 700 {folder}: it holds secrets."
        yield Finding("data directory", "warn", f"other users can read {folder} (mode {mode:o})", remedy)
    else:
        yield Finding("data directory", "ok", f"{folder}, only for its owner")


def check_database(settings: Settings) -> Iterator[Finding]:
    if settings.database_url is None and not settings.database_file.exists():
        return
    try:
        with closing(open_in_use(settings)) as database:
            verdict = database.check()
    except (DatabaseNotReady, WrongKey) as error:
        yield Finding("database", "fail", str(error), "Start a server of this release with its key file.")
    except (OSError, DatabaseUnavailable) as error:
        yield Finding("database", "fail", f"cannot be read: {error}", _DATABASE_REMEDY)
    else:
        yield Finding("database", "ok", verdict)


def check_backups(settings: Settings) -> Iterator[Finding]:
    """The storage of backups must take, return and delete an object. The folder in the data directory needs no check
    before its first use."""
    if settings.backup_storage is None and not (settings.data_dir / "backups").exists():
        return
    try:
        asyncio.run(Storage.open(settings.backup_url).probe())
    except StorageFailed as error:
        remedy = "Correct --backup-storage or its credentials in the environment."
        yield Finding("backups", "fail", str(error), remedy)
    else:
        yield Finding("backups", "ok", settings.backup_url)
