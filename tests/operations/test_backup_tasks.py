"""Backups of real instances: what they contain, and what interrupts them."""

import asyncio
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from huaweicloudsdkcore.exceptions.exceptions import ServiceResponseException
from huaweicloudsdkdcs.v2 import (
    BackupPlan,
    BackupPolicy,
    DeleteBackupFileRequest,
    DeleteSingleInstanceRequest,
    DownloadBackupFilesReq,
    ListBackupFileLinksRequest,
    ListBackupRecordsRequest,
)
from test_ha import connected, created_ha, needs_haproxy
from valkey.cluster import ValkeyCluster

from backup_files import contents, fetched, finished, loaded, manifest_of, record, requested
from caches import cache, load
from sdk_calls import created, ended, gone, newest_task, progress, show
from serving import Server, until

KEYS = 4_000


class Writer:
    """Writes a number to a key of each shard in turn, and waits for each answer."""

    def __init__(self, caches: ValkeyCluster, names: tuple[str, str]) -> None:
        self._caches = caches
        self._names = names
        self._stopped = threading.Event()
        self.number = 0
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Writer":
        self._thread.start()
        until(lambda: self.number > 10, "nothing is written")
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.is_set():
            for name in self._names:
                self._caches.set(name, self.number + 1)
            self.number += 1


def a_key_of_each(caches: ValkeyCluster) -> tuple[str, str]:
    found: dict[str, str] = {}
    number = 0
    while len(found) < 2:
        node = caches.get_node_from_key(f"counter:{number}")
        found.setdefault(node.name, f"counter:{number}")
        number += 1
    first, second = found.values()
    return first, second


def code_of(refused: Any) -> tuple[int, str]:
    return refused.value.status_code, refused.value.error_code


def test_a_backup_has_all_shards_at_one_moment_and_is_gone_when_it_is_deleted(
    server: Server, client: Any, tmp_path: Path
) -> None:
    instance_id = created(client, 2, copies=2)
    caches = cache(client, instance_id)
    load(caches, KEYS)
    names = a_key_of_each(caches)
    with Writer(caches, names) as writer:
        before = writer.number
        backup_id = requested(client, instance_id, "before the sale")
        task = newest_task(client, instance_id)
        done = finished(client, instance_id, backup_id)
        after = writer.number
    assert (done.status, done.error_code, done.remark, done.backup_type) == (
        "succeed",
        None,
        "before the sale",
        "manual",
    )
    assert (done.progress, done.is_support_restore, done.backup_format) == ("100.00", "TRUE", "rdb")
    assert task.name == "BACKUPING"
    assert ended(client, instance_id, task.id).status == "SUCCESS"
    assert show(client, instance_id).status == "RUNNING"
    steps = progress(client, instance_id, task.id).step_details
    assert [step.step_name for step in steps] == ["Pre-check.", "Snapshot.", "Snapshot check.", "Upload.", "Manifest."]
    assert f"/{KEYS}" in steps[1].sub_step_details[0].detail.replace(str(KEYS + 2), str(KEYS))

    manifest = manifest_of(server, backup_id)
    assert (manifest.moment, manifest.size, len(manifest.shards)) == ("instance", done.size, 2)
    assert manifest.keys == {0: KEYS + 2}
    assert manifest.spec_code == show(client, instance_id).spec_code
    assert sorted(slot for shard in manifest.shards for first, last in shard.slots for slot in (first, last)) == [
        0, 8191, 8192, 16383,
    ]  # fmt: skip
    (found,) = contents(fetched(server, backup_id, tmp_path / "files"), tmp_path).values()
    first, second = (int(found[name]) for name in names)
    assert before <= second <= first <= min(second + 1, after + 1)
    assert {name for name in found if name.startswith("key:")} == {f"key:{number}" for number in range(KEYS)}

    body = DownloadBackupFilesReq(expiration=300)
    request = ListBackupFileLinksRequest(instance_id=instance_id, backup_id=backup_id, body=body)
    links = client.list_backup_file_links(request).links
    for link, path in zip(links, sorted((tmp_path / "files").iterdir()), strict=True):
        answer = httpx.get(link.link)
        assert (answer.status_code, answer.content) == (200, path.read_bytes())
        assert link.file_name in answer.headers["content-disposition"]
        assert httpx.get(link.link[:-9] + "AAAAAAAA=").status_code == 401
    assert "token=" not in server.log()
    assert not (server.data_dir / "spool" / backup_id).exists()

    client.delete_backup_file(DeleteBackupFileRequest(instance_id=instance_id, backup_id=backup_id))
    until(lambda: record(client, instance_id, backup_id) is None, "the record of the backup stays")
    assert not (server.data_dir / "backups" / backup_id).exists()
    assert httpx.get(links[0].link).json()["error_code"] == "DCS.4031"
    with pytest.raises(ServiceResponseException) as refused:
        client.list_backup_file_links(request)
    assert code_of(refused) == (400, "DCS.4031")


@needs_haproxy
def test_a_primary_with_a_replica_is_backed_up_by_its_schedule_with_all_databases(
    server: Server, client: Any, tmp_path: Path
) -> None:
    every_day = BackupPlan(backup_at=[1, 2, 3, 4, 5, 6, 7], period_type="weekly", begin_at="00:00-01:00")
    policy = BackupPolicy(backup_type="auto", save_days=2, periodical_backup_plan=every_day)
    instance_id = created_ha(client, instance_backup_policy=policy)
    for database in (0, 7):
        with connected(client, instance_id, db=database) as one:
            one.mset({f"key:{number}": f"value {database}" for number in range(100)})
            one.execute_command("HSET", "hash", "field", "value")
            one.execute_command("HEXPIRE", "hash", 3600, "FIELDS", 1, "field")
    with connected(client, instance_id) as one:
        one.function_load("#!lua name=mine\nserver.register_function('one', function() return 1 end)")
    assert listed(client, instance_id) == []
    with closing(sqlite3.connect(server.data_dir / "cachewright.db", timeout=30)) as database:
        database.execute(
            "UPDATE instances SET attributes = json_set(attributes, '$.backup_policy.updated_at', 0) WHERE id = ?",
            [instance_id],
        )
        database.commit()
    until(lambda: listed(client, instance_id), "no backup begins")
    (automatic,) = listed(client, instance_id)
    assert automatic.backup_type == "auto"
    assert finished(client, instance_id, automatic.backup_id).status == "succeed"
    manifest = manifest_of(server, automatic.backup_id)
    assert (manifest.moment, manifest.keys) == ("instance", {0: 101, 7: 101})
    assert manifest.password
    until(lambda: show(client, instance_id).status == "RUNNING", "the instance is not RUNNING")
    client.delete_single_instance(DeleteSingleInstanceRequest(instance_id=instance_id))
    until(lambda: gone(client, instance_id), "the instance is not gone")
    assert [one.backup_id for one in listed(client, instance_id)] == [automatic.backup_id]
    (path,) = fetched(server, automatic.backup_id, tmp_path / "files")

    async def read() -> tuple[int, list[int]]:
        async with loaded(path, tmp_path / "plain") as node:
            node.execute_command("SELECT", 7)
            assert node.get("key:99") == "value 7"
            return node.execute_command("FCALL", "one", 0), node.execute_command("HTTL", "hash", "FIELDS", 1, "field")

    called, (remaining,) = asyncio.run(read())
    assert called == 1
    assert 0 < remaining <= 3600


def listed(client: Any, instance_id: str) -> list[Any]:
    answer = client.list_backup_records(ListBackupRecordsRequest(instance_id=instance_id))
    return list(answer.backup_record_response)
