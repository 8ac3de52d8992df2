"""A database, an instance, a task, a backup and a report of a host for tests that do not depend on their content."""

import functools
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from cryptography.fernet import Fernet

from cachewright.model.backups import Backup
from cachewright.model.hosts import HostReport
from cachewright.model.instances import Instance
from cachewright.model.tasks import Task
from cachewright.store.encryption import SecretCipher
from cachewright.store.opening import open_at, parse_database_url
from cachewright.store.postgres import PostgresDatabase
from cachewright.store.sqlite import SqliteDatabase


def new_database(folder: Path) -> SqliteDatabase | PostgresDatabase:
    """An empty database `test.db` in the folder, with this release's tables. The caller closes it."""
    (folder / "test.db").write_bytes(_empty_database())
    return opened(f"sqlite:///{folder / 'test.db'}")


@functools.cache
def _empty_database() -> bytes:
    """The file of an empty database, which is migrated once for all tests of a process."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "empty.db"
        migrated(f"sqlite:///{file}").close()
        return file.read_bytes()


def migrated(url: str) -> SqliteDatabase | PostgresDatabase:
    """The database at this URL with this release's tables. The caller closes it."""
    database = opened(url)
    database.migrate()
    return database


def opened(url: str, session: str = "cachewright") -> SqliteDatabase | PostgresDatabase:
    """The database at this URL as it is, with a new key. The caller closes it."""
    return open_at(parse_database_url(url), SecretCipher([Fernet.generate_key()]), session)


def stored_bytes(database_file: Path) -> bytes:
    """Contents of a SQLite database that may be open, with its log. Another process reads the files: a process that
    closes a file of its own open database loses its locks."""
    files = sorted(database_file.parent.glob(f"{database_file.name}*"))
    return subprocess.run(["cat", *files], capture_output=True, check=True).stdout


def a_task(**members: Any) -> Task:
    """A waiting task, except for the given members."""
    plain: dict[str, Any] = {
        "id": "t",
        "instance_id": "i",
        "project_id": "p",
        "kind": "k",
        "name": "K",
        "status": "WAITING",
        "params": {},
        "details": {},
        "user_id": "u",
        "user_name": "n",
        "created_at": 1,
    }
    return Task(**plain | members)


def a_backup(**members: Any) -> Backup:
    """A scheduled backup that has succeeded, except for the given members."""
    plain: dict[str, Any] = {
        "id": "b",
        "project_id": "p",
        "instance_id": "i",
        "instance_name": "cache",
        "spec_code": "redis.single.xu1.large.1",
        "kind": "auto",
        "state": "succeed",
        "task_id": "t",
        "remark": "",
        "created_at": 1,
    }
    return Backup(**plain | members)


def a_report(**members: Any) -> HostReport:
    """A report of a small host, except for the given members."""
    plain: dict[str, Any] = {"release": "1", "cpus": 1, "memory": 1, "memory_free": 1, "disk_free": 1}
    return HostReport(**plain | members)


def an_instance(**members: Any) -> Instance:
    """A running instance of one shard, except for the given members."""
    plain: dict[str, Any] = {
        "id": "i",
        "project_id": "p",
        "name": "cache",
        "status": "RUNNING",
        "engine_version": "7.0",
        "spec_code": "redis.cluster.xu1.large.r1.s1.1",
        "seed_port": 1,
        "password": None,
        "control_secret": "secret",
        "attributes": {},
        "user_id": "u",
        "user_name": "n",
        "created_at": 1,
        "updated_at": 1,
    }
    return Instance(**plain | members)
