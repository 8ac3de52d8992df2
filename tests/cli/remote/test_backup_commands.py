"""`cachewright backups`, typed at a real server, and `doctor` about their storage."""

import json
from pathlib import Path
from typing import Any

from cryptography.fernet import Fernet
from valkey import Valkey

from commands import Run
from sdk_calls import PASSWORD, created, show
from serving import Server, until

KEYS = 500


def a_single(client: Any) -> str:
    """Id of a single instance with keys in two databases."""
    instance_id = created(client, 1, name="kept", spec_code="redis.single.xu1.large.1", capacity=1)
    shown = show(client, instance_id)
    for database in (0, 3):
        with Valkey(host=shown.ip, port=shown.port, password=PASSWORD, db=database) as cache:
            cache.mset({f"key:{number}": f"value {database}" for number in range(KEYS)})
    return instance_id


def test_a_backup_is_made_listed_verified_downloaded_and_deleted(
    server: Server, client: Any, run: Run, told: Any, tmp_path: Path
) -> None:
    instance_id = a_single(client)
    made = run("backups", "create", "kept", "--remark", "before the sale", "--wait")
    assert made.returncode == 0, made.stderr
    assert made.stdout.splitlines()[-1].endswith("SUCCESS")
    (record,) = told("backups", "list", "kept")["backup_record_response"]
    backup_id = record["backup_id"]
    assert (record["status"], record["instance_id"], record["remark"]) == ("succeed", instance_id, "before the sale")
    assert backup_id in run("backups", "list").stdout

    verified = told("backups", "verify", backup_id)
    assert verified["keys"] == {"0": KEYS, "3": KEYS}
    assert (verified["moment"], verified["shards"], verified["bytes"]) == ("instance", 1, record["size"])
    assert "is whole: 1 files" in run("backups", "verify", backup_id).stdout

    downloaded = run("backups", "download", backup_id, "--folder", "files")
    assert downloaded.returncode == 0, downloaded.stderr
    (path,) = (tmp_path / "files").iterdir()
    assert (path.stat().st_size, path.stat().st_mode & 0o777) == (record["size"], 0o600)
    assert path.read_bytes()[:6] == b"VALKEY"
    assert told("backups", "links", backup_id)["links"][0]["file_name"] == path.name
    assert run("backups", "links", backup_id, "--expires", "600").stdout.startswith("http://127.0.0.1")

    doctor = run("doctor", "--data-dir", str(server.data_dir), "--json")
    states = {finding["name"]: finding["state"] for finding in json.loads(doctor.stdout)}
    assert states["backups"] == "ok"
    metrics = server.metrics()
    assert f'cachewright_backup_last_size_bytes{{instance_id="{instance_id}"}} {float(record["size"])}' in metrics

    (stored,) = (server.data_dir / "backups" / backup_id).glob("*/shard-0/*")
    content = stored.read_bytes()
    stored.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    broken = run("backups", "verify", backup_id)
    assert (broken.returncode, "was changed" in broken.stderr) == (1, True)
    refused = run("backups", "download", backup_id, "--folder", "broken")
    assert refused.returncode != 0
    assert not list((tmp_path / "broken").glob("*.rdb"))
    stored.write_bytes(content)
    (tmp_path / "other.key").write_bytes(Fernet.generate_key())
    (tmp_path / "other.key").chmod(0o600)
    sealed = run("backups", "verify", backup_id, "--secret-key-file", str(tmp_path / "other.key"))
    assert (sealed.returncode, "sealed with another key" in sealed.stderr) == (1, True)
    lost = run("backups", "verify", backup_id, "--secret-key-file", str(tmp_path / "lost.key"))
    assert (lost.returncode, "Traceback" in lost.stderr, "lost.key" in lost.stderr) == (1, False, True)
    assert told("backups", "write-log", "kept", "--keep-hours", "24")["keep_hours"] == 24
    assert "kept for 24 hours" in run("backups", "write-log", "kept").stdout
    assert f'cachewright_write_log_last_timestamp_seconds{{instance_id="{instance_id}"}}' in server.metrics()
    assert run("backups", "write-log", "kept", "--keep-hours", "0").stdout.startswith("no write log")
    too_old = run("backups", "create", "kept", "--moment", "2020-01-01T00:00:00Z")
    assert (too_old.returncode != 0, "DCS.4062" in too_old.stderr) == (True, True)
    for missing in (
        run("backups", "verify", "nothing"),
        run("backups", "delete", "nothing"),
        run("backups", "verify", backup_id, "--backup-storage", "nowhere"),
    ):
        assert missing.returncode != 0
        assert "Traceback" not in missing.stderr
    for record in told("backups", "list", "kept")["backup_record_response"]:
        assert run("backups", "delete", record["backup_id"]).returncode == 0
    until(lambda: told("backups", "list", "kept")["total_num"] == 0, "backups are left")


def test_a_storage_that_is_away_is_found_by_doctor(server: Server, run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    place = ("--backup-storage", f"file://{tmp_path}/file")
    doctor = run("doctor", "--data-dir", str(server.data_dir), *place, "--json")
    (found,) = [finding for finding in json.loads(doctor.stdout) if finding["name"] == "backups"]
    assert (doctor.returncode, found["state"]) == (1, "fail")
    assert "--backup-storage" in found["remedy"]
    assert run("doctor", "--backup-storage", "ftp://host").returncode == 2
