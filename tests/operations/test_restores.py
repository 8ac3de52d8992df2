"""Restores of backups: into new instances and into existing ones, across topologies and numbers of shards."""

import uuid
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import msgspec
import psutil
import pytest
from huaweicloudsdkcore.exceptions.exceptions import ClientRequestException
from huaweicloudsdkdcs.v2 import (
    DeleteBackupFileRequest,
    DeleteSingleInstanceRequest,
    ListBackupRecordsRequest,
    ListRestoreRecordsRequest,
    RestoreInstanceBody,
    RestoreInstanceRequest,
)
from valkey import Valkey
from valkey.cluster import ValkeyCluster

from backup_files import manifest_of
from caches import FAULTS, cache, serves
from cachewright.backups.manifest import encoded, manifest_name
from cachewright.store.encryption import read_key
from sdk_calls import ENDED, PASSWORD, backed_up, create_body, created, ended, gone, newest_task, progress, resize, show
from serving import Server, until

SINGLE = {"spec_code": "redis.single.xu1.large.1", "capacity": 1}
HA = {"spec_code": "redis.ha.xu1.large.r2.1", "capacity": 1}
_LIBRARY = "#!lua name=lib\nredis.register_function('answer', function() return 42 end)"

Content = dict[bytes, tuple[Any, int]]


def connected(client: Any, instance_id: str) -> Any:
    """A client of an instance of any type."""
    shown = show(client, instance_id)
    if shown.cache_mode == "cluster":
        return cache(client, instance_id)
    return Valkey(host=shown.ip, port=shown.port, password=PASSWORD)


def fill(caches: Any, keys: int = 500) -> None:
    """Write keys of several types, with and without times to live, and a function."""
    primaries = caches.get_primaries() if isinstance(caches, ValkeyCluster) else []
    for node in primaries:
        caches.execute_command("FUNCTION LOAD", "REPLACE", _LIBRARY, target_nodes=node)
    if not primaries:
        caches.execute_command("FUNCTION LOAD", "REPLACE", _LIBRARY)
    for number in range(keys):
        caches.set(f"key:{number}", f"value {number} [offset 5] Selecting DB ID 3" * 3)
    caches.set("trap", b"\xfa\x09slot-info\x0b1,99,0,0,0,0")
    caches.set("temporary", "x", px=3_600_000)
    caches.hset("hash", mapping={str(number): "v" for number in range(50)})
    caches.execute_command("HPEXPIRE", "hash", 3_600_000, "FIELDS", 1, "1")
    caches.rpush("list", *range(300))
    caches.zadd("scores", {str(number): number for number in range(200)})
    caches.xadd("stream", {"field": "value"})


def content(caches: Any) -> Content:
    """Value and times of expiry of every key."""
    return {
        key: (_value(caches, key), caches.execute_command("PEXPIRETIME", key)) for key in caches.scan_iter(count=1000)
    }


def _value(caches: Any, key: bytes) -> Any:
    if caches.type(key) != b"hash":
        return caches.dump(key)
    fields = sorted(caches.hgetall(key).items())
    return fields, caches.execute_command("HPEXPIRETIME", key, "FIELDS", len(fields), *(name for name, _ in fields))


def created_from(server: Server, backup_id: str, shards: int = 3, **changed: Any) -> str:
    """Id of a new instance with the data of a backup."""
    body = create_body(shards, **changed).to_dict() | {"backup_id": backup_id}
    status, answer = server.call(
        "POST", "instances", {name: value for name, value in body.items() if value is not None}
    )
    assert status == 200, answer
    instance_id = str(answer["instances"][0]["instance_id"])
    client = server.client()
    until(lambda: show(client, instance_id).status != "CREATING", "the instance is not created")
    assert show(client, instance_id).status == "RUNNING", server.log()
    return instance_id


def restore(client: Any, instance_id: str, backup_id: str, **options: Any) -> str:
    """Start a restore, and return the id of its task."""
    body = RestoreInstanceBody(backup_id=backup_id, **options)
    client.restore_instance(RestoreInstanceRequest(instance_id=instance_id, body=body))
    return str(newest_task(client, instance_id).id)


def begun(client: Any, instance_id: str, task_id: str, *names: str) -> bool:
    """Whether one of these steps has begun, or the task has ended."""
    steps = progress(client, instance_id, task_id).step_details
    has_begun = any(step.step_name in names and step.step_status != "WAITING" for step in steps)
    return has_begun or newest_task(client, instance_id).status in ENDED


def refused(call: Callable[[], Any]) -> tuple[int, str]:
    """HTTP status and error code of a request that is refused."""
    with pytest.raises(ClientRequestException) as refusal:
        call()
    return refusal.value.status_code, refusal.value.error_code


def test_new_instances_of_any_shape_from_a_backup(server: Server, client: Any) -> None:
    source = created(client, 3)
    fill(cache(client, source))
    before = content(cache(client, source))
    of_cluster = backed_up(client, source)
    client.delete_single_instance(DeleteSingleInstanceRequest(instance_id=source))
    until(lambda: gone(client, source), "the source is not deleted")  # backups outlive their instances

    made = {}
    for shards, shape in ((2, {"copies": 2}), (1, SINGLE), (1, HA)):
        made[shards, shape.get("spec_code")] = instance_id = created_from(server, of_cluster, shards, **shape)
        assert content(connected(client, instance_id)) == before, shape
        assert connected(client, instance_id).execute_command("FCALL", "answer", 0) == 42

    single = made[1, SINGLE["spec_code"]]
    of_single = backed_up(client, single)
    whole = created_from(server, of_single, 3)  # its keys are divided by slots first
    assert content(cache(client, whole)) == before
    assert not list((server.data_dir / "spool").glob("restore-*")), "files of a restore are left"
    assert not list((server.data_dir / "converters").glob("*")), "a temporary node is left"

    with connected(client, single) as node:
        node.select(5)
        node.set("in another database", 1)
    beyond = backed_up(client, single)
    status, answer = server.call("POST", "instances", create_body(3).to_dict() | {"backup_id": beyond})
    assert (status, answer["error_code"]) == (400, "DCS.4062"), answer
    assert "database 5" in answer["error_msg"]
    status, answer = server.call("POST", "instances", create_body(3).to_dict() | {"backup_id": str(uuid.uuid4())})
    assert (status, answer["error_code"]) == (400, "DCS.4031")


def one_is_killed(server: Server) -> bool:
    """Kill a node: one that loads, has loaded, or serves clients already. Others end at any time in a restore."""
    for process in server.nodes():
        with suppress(psutil.NoSuchProcess):
            process.kill()
            return True
    return False


def test_a_restore_into_a_cluster_that_has_been_scaled(own_server: Server) -> None:
    client = own_server.client()
    instance_id = created(client, 1, copies=2)
    fill(cache(client, instance_id))
    before = content(cache(client, instance_id))
    backup_id = backed_up(client, instance_id)
    assert ended(client, instance_id, resize(client, instance_id, 2, copies=2)).status == "SUCCESS"
    cache(client, instance_id).set("later", "than the backup")
    cache(client, instance_id).delete("list")
    changed = content(cache(client, instance_id))

    task_id = restore(client, instance_id, backup_id, remark="as before")
    assert show(client, instance_id).status == "RESTORING"
    assert refused(lambda: restore(client, instance_id, backup_id)) == (400, "DCS.4097")
    interrupted = []
    for steps in (("Snapshot check.", "Backup download."), ("Node stop.", "Data load."), ("Replica synchronization.",)):
        until(partial(begun, client, instance_id, task_id, *steps), "the restore does not continue")
        interrupted.append(newest_task(client, instance_id).status == "EXECUTING")
        own_server.kill()
        own_server.start()
        client = own_server.client()
    finished = ended(client, instance_id, task_id)
    assert finished.status == "SUCCESS", own_server.log()
    assert any(interrupted)
    until(lambda: serves(client, instance_id), "the instance does not serve")
    assert content(cache(client, instance_id)) == before
    (record,) = client.list_restore_records(ListRestoreRecordsRequest(instance_id=instance_id)).restore_record_response
    assert (record.backup_id, record.status, record.restore_remark) == (backup_id, "succeed", "as before")
    seen = progress(client, instance_id, task_id)
    assert all(step.step_status == "FINISH" for step in seen.step_details)

    safety = client.list_backup_records(ListBackupRecordsRequest(instance_id=instance_id)).backup_record_response[0]
    assert safety.status == "succeed"
    assert safety.backup_id != backup_id
    cache(client, instance_id).set("after", "the restore")
    for process in own_server.nodes():
        process.kill()
    until(lambda: serves(client, instance_id), "the killed nodes do not come back")
    assert cache(client, instance_id).get("after") == b"the restore"
    back = restore(client, instance_id, safety.backup_id)
    delete = DeleteBackupFileRequest(instance_id=instance_id, backup_id=safety.backup_id)
    assert refused(lambda: client.delete_backup_file(delete)) == (400, "DCS.4097")
    until(partial(begun, client, instance_id, back, "Data load."), "the restore does not continue")
    until(partial(one_is_killed, own_server), "no node runs")
    assert ended(client, instance_id, back).status == "SUCCESS", own_server.log()
    assert content(cache(client, instance_id)) == changed


def forget_memory(server: Server, backup_id: str) -> None:
    """Replace the manifest of a backup by that of an earlier release, which did not say how much memory the data
    needs."""
    manifest = manifest_of(server, backup_id)
    shards = tuple(msgspec.structs.replace(shard, memory=0) for shard in manifest.shards)
    content = encoded(msgspec.structs.replace(manifest, shards=shards), read_key(server.data_dir / "secret.key"))
    (server.data_dir / "backups" / manifest_name(backup_id)).write_bytes(content)


def test_a_restore_that_fails_changes_nothing(server: Server, client: Any) -> None:
    source = created(client, 1, **SINGLE)
    with connected(client, source) as node:
        node.set("from the backup", 1)
        for number in range(200):
            node.set(f"large:{number}", b"x" * 1_000_000)  # few bytes in the snapshot, which is compressed
    backup_id = backed_up(client, source)
    small = {"spec_code": "redis.single.xu1.tiny.128", "capacity": 0.125}
    target = created(client, 1, **small)
    fill(connected(client, target), 50)
    before = content(connected(client, target))
    assert refused(lambda: restore(client, target, backup_id)) == (400, "DCS.4036")
    assert newest_task(client, target).name != "RESTORE"

    forget_memory(server, backup_id)
    task_id = restore(client, target, backup_id)
    acknowledged = False
    with suppress(*FAULTS):  # before the stop, if this process is fast enough
        acknowledged = bool(connected(client, target).set("late", "acknowledged"))
    assert ended(client, target, task_id).status == "FAILED"
    record = server.call("GET", f"instances/{target}/tasks/{task_id}")[1]["task"]
    assert record["error_code"] == "DCS.9008", record
    assert show(client, target).status == "RUNNING"
    until(lambda: answers(client, target), "the instance does not serve")
    found = content(connected(client, target))
    assert found.pop(b"late", None) is not None or not acknowledged
    assert found == before
    (shown,) = client.list_restore_records(ListRestoreRecordsRequest(instance_id=target)).restore_record_response
    assert (shown.status, shown.error_code) == ("failed", "DCS.9008")
    folders = [
        path.name for path in (server.data_dir / "nodes").glob("*/*") if path.name.startswith(("restored-", "before-"))
    ]
    assert not folders


def test_a_restore_into_an_instance_with_sentinel(server: Server, client: Any) -> None:
    source = created(client, 2)
    fill(cache(client, source))
    before = content(cache(client, source))
    backup_id = backed_up(client, source)
    target = created(client, 1, **HA)
    connected(client, target).set("own", "data")

    cancelled = restore(client, target, backup_id)
    until(lambda: begun(client, target, cancelled, "Node stop."), "the restore does not begin")
    if server.call("POST", f"instances/{target}/tasks/{cancelled}/cancel")[0] == 200:  # before it is over
        assert ended(client, target, cancelled).status == "FAILED"
        assert show(client, target).status == "RUNNING"
        until(lambda: answers(client, target), "the instance does not serve")
        assert list(connected(client, target).scan_iter()) == [b"own"]
    assert ended(client, target, restore(client, target, backup_id)).status == "SUCCESS", server.log()
    until(lambda: answers(client, target), "the instance does not serve")
    caches = connected(client, target)
    assert content(caches) == before
    caches.set("after", "the restore")
    assert caches.wait(1, 60_000) == 1, "the replica does not follow"


def answers(client: Any, instance_id: str) -> bool:
    """Whether the instance answers a new client."""
    try:
        return bool(connected(client, instance_id).ping())
    except FAULTS:
        return False
