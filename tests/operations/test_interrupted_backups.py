"""Backups that are interrupted: by the end of the server, of a node, and by a storage that is away."""

import os
from pathlib import Path
from typing import Any

import psutil
from huaweicloudsdkdcs.v2 import DeleteSingleInstanceRequest, ShowNodesInformationRequest
from valkey import Valkey
from valkey.cluster import ValkeyCluster

from backup_files import contents, fetched, finished, manifest_of, record, requested
from caches import FAULTS, cache, load, operator_of
from environment_faults import MEGABYTE, small_disk
from sdk_calls import created, ended, gone, newest_task, progress
from serving import Server, until

KEYS = 2_000
SLOW = 10_000
"""Microseconds for which a node pauses after each key of its snapshot (`rdb-key-save-delay`)."""


def members(server: Server, client: Any, instance_id: str) -> list[Valkey]:
    """Connections to all nodes, with administrative rights."""
    shown = client.show_nodes_information(ShowNodesInformationRequest(instance_id=instance_id))
    return [operator_of(server, node.node_ip, int(node.node_port)) for node in shown.nodes]


def delay(nodes: list[Valkey], microseconds: int) -> None:
    for node in nodes:
        node.config_set("rdb-key-save-delay", microseconds)


def step_of(client: Any, instance_id: str, task_id: str, name: str) -> Any:
    return next((step for step in progress(client, instance_id, task_id).step_details if step.step_name == name), None)


def receives(client: Any, instance_id: str, task_id: str) -> Any:
    """Whether a part of the snapshot has arrived, and not all of it."""
    step = step_of(client, instance_id, task_id, "Snapshot.")
    details = [sub.detail for sub in step.sub_step_details or []] if step and step.step_status == "EXECUTING" else []
    return any("keys:" in detail and "keys:0/" not in detail for detail in details)


def test_a_snapshot_that_was_interrupted_is_taken_again(own_server: Server, tmp_path: Path) -> None:
    """First the server is killed, then a replica that sends its snapshot. Clients are never paused for long."""
    client = own_server.client()
    instance_id = created(client, 2, copies=2)
    caches = cache(client, instance_id)
    for number in range(KEYS):  # values that fill the buffers of a node after some keys
        caches.set(f"key:{number}", os.urandom(800).hex())
    nodes = members(own_server, client, instance_id)
    delay(nodes, SLOW)
    backup_id = requested(client, instance_id)
    task_id = newest_task(client, instance_id).id
    until(lambda: receives(client, instance_id, task_id), "no snapshot arrives")
    first = {path.name for path in (own_server.data_dir / "spool" / backup_id).iterdir()}
    assert first == {"shard-0.rdb", "shard-1.rdb"}
    own_server.kill()
    caches.set("key:0", "written while the server is away")
    own_server.start()
    client = own_server.client()
    until(lambda: receives(client, instance_id, task_id), "no snapshot arrives after the restart")
    replica = until(lambda: sending(nodes), "no node sends a snapshot")
    replica.kill()
    delay([node for node in nodes if answers(node)], 0)
    done = finished(client, instance_id, backup_id)
    assert (done.status, done.error_code) == ("succeed", None)
    manifest = manifest_of(own_server, backup_id)
    assert (manifest.moment, manifest.keys) == ("instance", {0: KEYS})
    (found,) = contents(fetched(own_server, backup_id, tmp_path / "files"), tmp_path).values()
    assert found["key:0"] == "written while the server is away"
    assert list((own_server.data_dir / "spool").iterdir()) == []

    delay([node for node in nodes if answers(node)], SLOW)
    cancelled = requested(client, instance_id)
    task_id = newest_task(client, instance_id).id
    until(lambda: receives(client, instance_id, task_id), "no snapshot arrives")
    client.delete_single_instance(DeleteSingleInstanceRequest(instance_id=instance_id))
    until(lambda: gone(client, instance_id), "the instance is not gone")
    assert record(client, instance_id, cancelled).status == "failed"
    assert record(client, instance_id, backup_id).status == "succeed"
    until(lambda: not list((own_server.data_dir / "spool").iterdir()), "the spool keeps a cancelled backup")
    assert own_server.log().count("Traceback") == 0


def load_random(caches: ValkeyCluster, size: int) -> None:
    """Store bytes that cannot be compressed."""
    for number in range(0, size, MEGABYTE):
        caches.set(f"random:{number}", os.urandom(MEGABYTE))


def answers(node: Valkey) -> bool:
    try:
        return bool(node.ping())
    except FAULTS:
        return False


def sending(nodes: list[Valkey]) -> psutil.Process | None:
    """A replica whose child process writes a snapshot."""
    for node in nodes:
        is_replica = answers(node) and node.info("replication")["role"] == "slave"
        if is_replica and node.info("persistence")["rdb_bgsave_in_progress"]:
            return psutil.Process(int(node.info("server")["process_id"]))
    return None


def test_a_backup_waits_for_a_storage_that_is_away_and_keeps_what_it_has(own_server: Server, tmp_path: Path) -> None:
    client = own_server.client()
    instance_id = created(client, 1)
    load(cache(client, instance_id), KEYS)
    folder = own_server.data_dir / "backups"
    folder.write_text("no folder")
    backup_id = requested(client, instance_id)
    task_id = newest_task(client, instance_id).id

    def uploads() -> bool:
        step = step_of(client, instance_id, task_id, "Upload.")
        return bool(step and step.step_status == "EXECUTING" and record(client, instance_id, backup_id))

    until(uploads, "the upload has not begun")
    spooled = own_server.data_dir / "spool" / backup_id / "shard-0.rdb"
    taken_at = spooled.stat().st_mtime_ns
    assert spooled.stat().st_mode & 0o777 == 0o600
    assert spooled.parent.stat().st_mode & 0o777 == 0o700
    own_server.kill()
    own_server.start()
    client = own_server.client()
    until(uploads, "the upload has not begun again")
    assert record(client, instance_id, backup_id).status == "backuping"
    assert spooled.stat().st_mtime_ns == taken_at
    folder.unlink()
    assert finished(client, instance_id, backup_id).status == "succeed"
    assert manifest_of(own_server, backup_id).keys == {0: KEYS}

    folder.rename(tmp_path / "away")
    folder.write_text("no folder")
    failing = requested(client, instance_id)
    task_id = newest_task(client, instance_id).id
    until(uploads, "the upload has not begun")
    assert own_server.call("POST", f"instances/{instance_id}/tasks/{task_id}/cancel")[0] == 200
    assert ended(client, instance_id, task_id).status == "FAILED"
    assert record(client, instance_id, failing).status == "failed"
    folder.unlink()
    (tmp_path / "away").rename(folder)
    until(lambda: not list((own_server.data_dir / "spool").iterdir()), "the spool keeps a cancelled backup")
    assert {path.name for path in folder.iterdir()} == {backup_id, "cachewright-storage"}

    spool = own_server.data_dir / "spool"
    spool.rmdir()
    with small_disk(spool, 1):
        load_random(cache(client, instance_id), 3 * MEGABYTE)
        full = finished(client, instance_id, requested(client, instance_id))
        assert (full.status, full.error_code) == ("failed", "DCS.9007")
        assert list(spool.iterdir()) == []
    assert own_server.log().count("Traceback") == 0
