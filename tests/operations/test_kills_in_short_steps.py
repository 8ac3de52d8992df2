"""A real server that is killed while the storage gets the manifest of a backup, and in the takeover of a restore."""

import asyncio
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

import msgspec
import psutil
import pytest
from valkey import Valkey

from backup_files import finished, requested
from bucket import access_to, bucket_service
from caches import FAULTS
from cachewright.backups.manifest import manifest_name, read_manifest
from cachewright.backups.storage import Storage
from cachewright.model.tasks import Step
from cachewright.operations.actions.takeover import take_over
from cachewright.store.encryption import read_key
from holding_bucket import HoldingBucket, holding_bucket
from migrating import SINGLE
from sdk_calls import PASSWORD, created, ended, newest_task, show
from serving import PATIENCE_SECONDS, ROOMY, UNLIMITED, Server, until

KEYS = 300
STORAGE = "s3://bucket/caches"
_TRIES = 10


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[HoldingBucket]:
    with bucket_service() as service, holding_bucket(service) as front:
        for name, value in access_to(front.url).items():
            monkeypatch.setenv(name, value)
        yield front


@pytest.fixture
def storing_server(bucket: HoldingBucket, tmp_path: Path) -> Iterator[Server]:
    """A server with its backups in the bucket."""
    server = Server(tmp_path / "data", arguments=(*ROOMY, *UNLIMITED, "--backup-storage", STORAGE))
    try:
        server.start()
        yield server
    finally:
        bucket.drop()
        server.clean_up()


def killed(server: Server, bucket: HoldingBucket) -> None:
    """Kill the server while a manifest is held, and the request with it."""
    bucket.wait()
    server.kill()
    bucket.drop()


def spooled(server: Server) -> list[str]:
    return [path.name for path in (server.data_dir / "spool").iterdir()]


def objects(backup_id: str) -> list[str]:
    """Names of the objects of a backup in the storage."""
    return asyncio.run(Storage.open(STORAGE).names(backup_id))


def stored_manifest(backup_id: str) -> bytes | None:
    return asyncio.run(Storage.open(STORAGE).get(manifest_name(backup_id)))


def keys_of(server: Server, backup_id: str) -> dict[int, int]:
    """Keys of a backup by database, as its manifest says."""
    cipher = read_key(server.data_dir / "secret.key")
    return asyncio.run(read_manifest(Storage.open(STORAGE), cipher, backup_id)).keys


def test_a_server_that_is_killed_at_the_manifest_and_in_the_takeover(
    storing_server: Server, bucket: HoldingBucket
) -> None:
    server = storing_server
    instance_id = created(server.client(), **SINGLE)
    shown = show(server.client(), instance_id)
    inside = Valkey(host=shown.ip, port=shown.port, password=PASSWORD)
    inside.mset({f"key:{number}": number for number in range(KEYS)})

    bucket.hold("before")
    backup_id = requested(server.client(), instance_id)
    killed(server, bucket)
    assert objects(backup_id), "the snapshot is not stored before the manifest"
    assert stored_manifest(backup_id) is None
    bucket.hold("after")
    server.start()
    killed(server, bucket)
    manifest = stored_manifest(backup_id)
    assert manifest
    assert spooled(server) == [backup_id], "the files are needed until the end"
    server.start()
    done = finished(server.client(), instance_id, backup_id)
    assert (done.status, done.error_code) == ("succeed", None), server.log()
    assert stored_manifest(backup_id) == manifest, "the manifest was replaced"
    assert spooled(server) == []
    assert keys_of(server, backup_id) == {0: KEYS}

    cancelled = _cancelled_after_its_manifest(server, bucket, instance_id)
    _killed_in_the_takeover(server, instance_id, backup_id, inside)
    until(partial(_is_swept, cancelled), "the storage keeps a cancelled backup")
    assert keys_of(server, backup_id) == {0: KEYS}
    until(lambda: not spooled(server), "the spool keeps files")
    assert server.log().count("Traceback") == 0


def _cancelled_after_its_manifest(server: Server, bucket: HoldingBucket, instance_id: str) -> str:
    """Cancel a backup whose manifest is in the storage already, and kill the server before the task has ended."""
    bucket.hold("after")
    backup_id = requested(server.client(), instance_id)
    task_id = newest_task(server.client(), instance_id).id
    bucket.wait()
    assert server.call("POST", f"instances/{instance_id}/tasks/{task_id}/cancel")[0] == 200
    killed(server, bucket)
    assert stored_manifest(backup_id)
    server.start()
    assert ended(server.client(), instance_id, task_id).status == "FAILED"
    done = finished(server.client(), instance_id, backup_id)
    assert (done.status, done.error_code) == ("failed", "DCS.9005")
    return backup_id


def _is_swept(backup_id: str) -> bool:
    return not objects(backup_id)


def _killed_in_the_takeover(server: Server, instance_id: str, backup_id: str, inside: Valkey) -> None:
    """What a client has written since the takeover began is kept, or was not accepted."""
    for _ in range(_TRIES):
        inside.set("later", "than the backup")
        body = {"backup_id": backup_id, "safety_backup": False}
        status, answer = server.call("POST", f"instances/{instance_id}/restores", body)
        assert status == 200, answer
        task_id = str(newest_task(server.client(), instance_id).id)
        if _killed_if_it_takes_over(server, task_id):
            break
        assert ended(server.client(), instance_id, task_id).status == "SUCCESS", server.log()
        until(partial(_answers, inside), "the instance does not serve")
    else:
        pytest.fail("each takeover had ended before the kill")
    accepted = False
    with suppress(*FAULTS):
        accepted = bool(inside.set("while the server is away", "x"))
    server.start()
    assert ended(server.client(), instance_id, task_id).status == "SUCCESS", server.log()
    until(partial(_answers, inside), "the instance does not serve")
    assert (inside.exists("later"), inside.exists("key:0", "key:1")) == (0, 2)
    assert inside.exists("while the server is away") == accepted
    assert inside.set("after", "x")
    assert show(server.client(), instance_id).status == "RUNNING"
    left = [path.name for path in (server.data_dir / "nodes").glob("*/*")]
    assert not [name for name in left if name.startswith(("restored-", "before-"))]


def _killed_if_it_takes_over(server: Server, task_id: str) -> bool:
    """Kill the server during the takeover, and return True. The takeover takes only milliseconds: if it has ended
    before, return False, with the server still running."""
    assert server.process
    process = psutil.Process(server.process.pid)
    deadline = time.monotonic() + PATIENCE_SECONDS
    with closing(sqlite3.connect(server.data_dir / "cachewright.db")) as database:
        while _takeover(database, task_id) is None:
            assert time.monotonic() < deadline, "the restore does not take over"
        process.suspend()  # so that what is read now stays until the end of the process
        takes_over = _takeover(database, task_id) == "EXECUTING"
    if takes_over:
        server.kill()
    else:
        process.resume()
    return takes_over


def _takeover(database: sqlite3.Connection, task_id: str) -> str | None:
    """The status of the takeover, None before it has begun."""
    ((stored,),) = database.execute("SELECT steps FROM tasks WHERE id = ?", [task_id])
    subs = [sub for step in msgspec.json.decode(stored, type=tuple[Step, ...]) for sub in step.sub_steps]
    return next((sub.status for sub in subs if sub.action == take_over.name and sub.status != "WAITING"), None)


def _answers(node: Valkey) -> bool:
    try:
        return bool(node.ping())
    except FAULTS:
        return False
