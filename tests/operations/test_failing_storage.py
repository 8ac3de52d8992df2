"""A backup and restores whose server is killed while it checks files, and whose storage is away, damaged or sealed with
another key."""

from pathlib import Path
from typing import Any

from cryptography.fernet import Fernet
from valkey import Valkey

from backup_files import finished, manifest_of, requested
from caches import FAULTS
from cachewright.backups.manifest import encoded, manifest_name
from cachewright.store.encryption import SecretCipher
from held_tools import holding_server
from migrating import SINGLE
from sdk_calls import PASSWORD, created, ended, newest_task, progress, show
from serving import Server, until

KEYS = 300
_RESTORE = {"backup_id": "", "safety_backup": False}


def executes(server: Server, instance_id: str, task_id: str, step: str) -> bool:
    steps = progress(server.client(), instance_id, task_id).step_details
    return any(one.step_name == step and one.step_status == "EXECUTING" for one in steps)


def killed_in(server: Server, instance_id: str, task_id: str, step: str) -> None:
    """Kill the server in this step, which is held."""
    until(lambda: executes(server, instance_id, task_id, step), f"the task is not in {step}")
    server.kill()


def restored(server: Server, instance_id: str, backup_id: str) -> tuple[int, Any]:
    """Request a restore without a safety backup."""
    return server.call("POST", f"instances/{instance_id}/restores", _RESTORE | {"backup_id": backup_id})


def test_kills_during_checks_and_a_storage_that_fails(own_server: Server, tmp_path: Path) -> None:
    program, held = holding_server(tmp_path)
    own_server.stop()
    own_server.arguments += ("--valkey-binary", str(program))
    own_server.start()
    instance_id = created(own_server.client(), **SINGLE)
    shown = show(own_server.client(), instance_id)
    inside = Valkey(host=shown.ip, port=shown.port, password=PASSWORD)
    inside.mset({f"key:{number}": number for number in range(KEYS)})

    held.touch()
    backup_id = requested(own_server.client(), instance_id)
    task_id = newest_task(own_server.client(), instance_id).id
    spooled = own_server.data_dir / "spool" / backup_id / "shard-0.rdb"
    killed_in(own_server, instance_id, task_id, "Snapshot check.")
    taken_at = spooled.stat().st_mtime_ns
    own_server.start()
    until(lambda: executes(own_server, instance_id, task_id, "Snapshot check."), "the check does not begin again")
    assert spooled.stat().st_mtime_ns == taken_at
    held.unlink()
    assert finished(own_server.client(), instance_id, backup_id).status == "succeed"
    assert manifest_of(own_server, backup_id).keys == {0: KEYS}

    inside.set("later", "than the backup")
    held.touch()
    assert restored(own_server, instance_id, backup_id)[0] == 200
    task_id = newest_task(own_server.client(), instance_id).id
    killed_in(own_server, instance_id, task_id, "Backup download.")
    folder = own_server.data_dir / "backups"
    folder.rename(tmp_path / "away")
    folder.write_text("no folder")
    own_server.start()
    until(lambda: f"{folder.as_uri()}: " in own_server.log(), "the storage is not missed")
    assert inside.get("later") == b"than the backup"
    folder.unlink()
    (tmp_path / "away").rename(folder)
    held.unlink()
    assert ended(own_server.client(), instance_id, task_id).status == "SUCCESS", own_server.log()
    until(lambda: answers(inside), "the instance does not serve")
    assert (inside.get("later"), inside.dbsize()) == (None, KEYS)

    _damaged_and_foreign_backups_change_nothing(own_server, instance_id, backup_id, inside)


def _damaged_and_foreign_backups_change_nothing(
    own_server: Server, instance_id: str, backup_id: str, inside: Valkey
) -> None:
    folder = own_server.data_dir / "backups"
    inside.set("later", "than the restore")
    (stored,) = (folder / backup_id).glob("*/shard-0/*")
    content = stored.read_bytes()
    stored.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert restored(own_server, instance_id, backup_id)[0] == 200
    task_id = newest_task(own_server.client(), instance_id).id
    assert ended(own_server.client(), instance_id, task_id).status == "FAILED"
    record = own_server.call("GET", f"instances/{instance_id}/tasks/{task_id}")[1]["task"]
    assert record["error_code"] == "DCS.9015"
    stored.write_bytes(content)

    manifest = folder / manifest_name(backup_id)
    manifest.write_bytes(encoded(manifest_of(own_server, backup_id), SecretCipher([Fernet.generate_key()])))
    status, answer = restored(own_server, instance_id, backup_id)
    assert (status, answer["error_code"]) == (500, "DCS.9015")
    assert "sealed with another key" in answer["error_msg"]
    assert (inside.get("later"), inside.dbsize()) == (b"than the restore", KEYS + 1)
    assert show(own_server.client(), instance_id).status == "RUNNING"
    assert not list((own_server.data_dir / "spool").iterdir())


def answers(node: Valkey) -> bool:
    try:
        return bool(node.ping())
    except FAULTS:
        return False
