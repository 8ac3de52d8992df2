"""Migrations from outside and imports through the cloud's own SDK, and the content of servers."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from huaweicloudsdkdcs.v2 import (
    BackupFilesBody,
    CreateMigrationTaskBody,
    CreateMigrationTaskRequest,
    Files,
    ListMigrationTaskLogsRequest,
    ShowMigrationTaskRequest,
    TargetInstanceBody,
)

from outside_server import PASSWORD as SOURCE_PASSWORD
from serving import Server, until

SINGLE = {"capacity": 1, "spec_code": "redis.single.xu1.large.1"}


def migrate(
    client: Any, target: str, addresses: str, *, follow: bool, password: str = SOURCE_PASSWORD, **more: Any
) -> str:
    """Start a migration, and return its id. `more` are members of the source that the SDK does not have."""
    body = CreateMigrationTaskBody(
        task_name="move",
        migration_type="online_migration",
        migration_method="incremental_migration" if follow else "full_amount_migration",
        network_type="vpc",
        source_instance={"addrs": addresses, "password": password, **more},
        target_instance=TargetInstanceBody(id=target),
    )
    return str(client.create_migration_task(CreateMigrationTaskRequest(body=body)).id)


def migration(client: Any, migration_id: str) -> Any:
    return client.show_migration_task(ShowMigrationTaskRequest(task_id=migration_id))


def reaches(client: Any, migration_id: str, status: str) -> Any:
    """Wait for a status, and return the migration. Any other final status fails."""

    def reached() -> Any:
        shown = migration(client, migration_id)
        assert shown.status == status or shown.status not in {"SUCCESS", "FAILED", "TERMINATED"}, log(
            client, migration_id
        )
        return shown if shown.status == status else None

    return until(reached, f"migration is not {status}")


def log(client: Any, migration_id: str) -> list[str]:
    request = ListMigrationTaskLogsRequest(task_id=migration_id, limit=100)
    return [entry.message for entry in client.list_migration_task_logs(request).migration_logs]


def is_ready(server: Server, migration_id: str) -> bool:
    _, shown = server.call("GET", f"migration-task/{migration_id}")
    return bool(shown["cut_over"] and shown["cut_over"]["ready"])


def content(server: Any) -> dict[bytes, Any]:
    """Every key with its value, and whether it expires."""
    found = {}
    for key in server.scan_iter(count=1000):
        kind = server.type(key).decode()
        read = {
            "string": server.get,
            "hash": server.hgetall,
            "list": lambda key: server.lrange(key, 0, -1),
            "set": server.smembers,
            "zset": lambda key: server.zrange(key, 0, -1, withscores=True),
            "stream": server.xrange,
        }[kind]
        found[key] = (kind, read(key), server.ttl(key) > 0)
    return found


def fill(client: Any, keys: int) -> None:
    with client.pipeline(transaction=False) as pipe:
        for number in range(keys):
            pipe.set(f"key:{number}", b"\x00\xff" + b"v" * 50, ex=10_000 if number % 7 == 0 else None)
        pipe.hset("hash", mapping={"a": 1, "b": 2})
        pipe.rpush("list", *range(100))
        pipe.sadd("set", *range(100))
        pipe.zadd("sorted", {str(number): number for number in range(100)})
        pipe.xadd("stream", {"field": "value"})
        pipe.execute()


def failed_migration(client: Any, migration_id: str) -> str:
    reaches(client, migration_id, "FAILED")
    return migration_id


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None: ...


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The URL at which the files of a folder can be read."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def imported(client: Any, target: str, *, backup: str | None = None, urls: tuple[str, ...] = ()) -> str:
    """Start an import of files or of a backup, and return its id."""
    files = BackupFilesBody(
        file_source="backup_record" if backup else "self_build_obs",
        backup_id=backup,
        files=[Files(file_name=url, size="0", update_at="") for url in urls],
    )
    body = CreateMigrationTaskBody(
        task_name="files",
        migration_type="backupfile_import",
        migration_method="full_amount_migration",
        backup_files=files,
        target_instance=TargetInstanceBody(id=target),
    )
    return str(client.create_migration_task(CreateMigrationTaskRequest(body=body)).id)
