"""Migrations from outside as the API shows them. Their tasks are not performed here."""

from collections.abc import Callable
from typing import Any

import pytest
from contract import faults
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from huaweicloudsdkdcs.v2 import (
    BatchStopMigrationTasksBody,
    BatchStopMigrationTasksRequest,
    CreateOnlineMigrationTaskBody,
    CreateOnlineMigrationTaskRequest,
    ShowJobInfoRequest,
)
from tenants import Tenant

from cachewright.valkey.certificates import new_authority, node_certificate

SECRET = "Source-password-1"
NOWHERE = "0" * 32
SOURCE = {"addrs": "10.0.0.7:6379, [fd00::7]:6379", "password": SECRET}

_ISSUED = node_certificate(new_authority("clients"), "mover", address="127.0.0.1")
_END = _ISSUED.index("-----BEGIN CERTIFICATE")
KEY, CERTIFICATE = _ISSUED[:_END], _ISSUED[_END:]
OTHER = node_certificate(new_authority("others"), "other", address="127.0.0.1")[:_END]
LOCKED = (
    load_pem_private_key(KEY.encode(), None)
    .private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"password"))
    .decode()
)
"""The key, encrypted."""

SECRETS = [SECRET, *(text.splitlines()[1] for text in (KEY, CERTIFICATE, LOCKED, OTHER))]

FILE = "https://bucket.example.com/dump.rdb?sign=secret"


def files(migration_method: str = "full_amount_migration", **backup_files: Any) -> dict[str, Any]:
    """Members of an import."""
    return {
        "migration_type": "backupfile_import",
        "migration_method": migration_method,
        "source_instance": {},
        "backup_files": backup_files or {"files": [{"file_name": FILE}]},
    }


def body(target: str, **changed: Any) -> dict[str, Any]:
    return {
        "task_name": "move",
        "migration_type": "online_migration",
        "migration_method": "incremental_migration",
        "source_instance": SOURCE,
        "target_instance": {"id": target},
        **changed,
    }


def test_a_migration_that_is_created_and_then_configured(tenant: Tenant) -> None:
    client, target = tenant.client, tenant.instance()
    labels = {"vpc_id": "net", "subnet_id": "sub", "security_group_id": "group"}
    wanted = CreateOnlineMigrationTaskBody(name="move", description="to here", **labels)
    made = client.create_online_migration_task(CreateOnlineMigrationTaskRequest(body=wanted)).instance_id
    assert client.show_job_info(ShowJobInfoRequest(job_id=made)).status == "SUCCESS"
    shown = tenant.call("GET", f"migration-task/{made}").json
    assert (shown["status"], shown["migration_method"], shown["cut_over"]) == ("CREATED", None, None)
    assert [shown[f"tenant_{name}"] for name in labels] == list(labels.values())
    assert tenant.call("POST", f"migration-task/{made}/stop").refusal == (400, "DCS.4957")

    config = {"migration_method": "full_amount_migration", "resume_mode": "manual", "bandwidth_limit_mb": "50"}
    source = {**SOURCE, "ssl_enabled": True, "ssl_cert": CERTIFICATE, "ssl_key": KEY}
    ends = {"source_instance": source, "target_instance": {"id": target}}
    answer = tenant.call("POST", f"migration/{made}/task", config | ends)
    assert (answer.status, answer.json) == (200, {"id": made, "name": "move", "status": "MIGRATING"})
    shown = tenant.call("GET", f"migration-task/{made}").json
    assert faults(shown, "ShowMigrationTaskResponse") == []
    assert (shown["resume_mode"], shown["bandwidth_limit_mb"]) == ("manual", "50")
    assert shown["source_instance"]["addrs"] == "10.0.0.7:6379,[fd00::7]:6379"
    assert tenant.call("GET", f"instances/{target}").json["status"] == "MIGRATING"
    assert tenant.call("POST", f"migration/{made}/task", config | ends).refusal == (400, "DCS.4957")
    assert tenant.call("POST", f"migration-task/{made}/cut-over").refusal == (400, "DCS.4957")
    assert tenant.call("DELETE", "migration-tasks/delete", {"task_id_list": [made]}).refusal == (400, "DCS.4957")
    task = tenant.call("GET", f"tasks/{shown['background_task_id']}")
    listed = tenant.call("GET", "migration-tasks", query="name=ov")
    for seen in (task, listed, answer, tenant.call("GET", f"migration-task/{made}")):
        assert not [secret for secret in SECRETS if secret in seen.body.decode()]
    assert faults(listed.json, "ListMigrationTaskResponse") == []
    assert listed.json["count"] == 1
    assert tenant.call("GET", "migration-tasks", query="name=other").json["count"] == 0
    assert faults(tenant.call("GET", f"migration-task/{made}/stats").json, "ShowMigrationTaskStatsResponse") == []
    assert tenant.call("GET", f"migration-task/{made}/logs").json == {"log_num": 0, "migration_logs": []}
    changed = tenant.call("PUT", f"migration-task/{made}", {"resume_mode": "auto"}).json
    assert changed["resume_mode"] == "auto"

    wanted = BatchStopMigrationTasksRequest(body=BatchStopMigrationTasksBody(migration_tasks=[made, NOWHERE]))
    stopped, unknown = client.batch_stop_migration_tasks(wanted).migration_tasks
    assert (stopped.result, unknown.result, unknown.error_code) == ("success", "failed", "DCS.4133")
    assert tenant.call("GET", f"migration-task/{made}").json["status"] == "TERMINATED"
    assert tenant.call("DELETE", "migration-tasks/delete", {"task_id_list": [made]}).status == 200
    assert tenant.call("GET", f"migration-task/{made}").refusal == (400, "DCS.4133")


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"migration_type": "backupfile_import"}, "DCS.4062"),
        (files(migration_method="incremental_migration"), "DCS.4062"),
        (files(files=[{"file_name": "ftp://host/dump.rdb"}]), "DCS.4062"),
        (files(files=[{"file_name": "dump.rdb"}]), "DCS.4062"),
        (files(files=[{"file_name": "a.rdb"}], bucket_name="https://host/b?c=d"), "DCS.4062"),
        (files(files=[{"file_name": FILE}], bucket_name="https://user:secret@host/b"), "DCS.4062"),
        (files(files=[{"file_name": FILE}], backup_id=NOWHERE), "DCS.4062"),
        (files(file_source="backup_record"), "DCS.4062"),
        (files(file_source="backup_record", backup_id=NOWHERE), "DCS.4031"),
        (files(files=[{"file_name": FILE}] * 129), "DCS.4062"),
        ({"source_instance": {**SOURCE, "ssl_ca": "no PEM", "ssl_enabled": True}}, "DCS.4062"),
        ({"source_instance": {**SOURCE, "ssl_ca": "kein Schlüssel", "ssl_enabled": True}}, "DCS.4062"),
        ({"source_instance": {**SOURCE, "ssl_ca": "PEM without TLS"}}, "DCS.4062"),
        ({"source_instance": {**SOURCE, "ssl_check_hostname": False, "ssl_enabled": True}}, "DCS.4062"),
        ({"source_instance": {**SOURCE, "ssl_cert": CERTIFICATE, "ssl_key": KEY}}, "DCS.4062"),
        ({"source_instance": {**SOURCE, "ssl_enabled": True, "ssl_cert": CERTIFICATE}}, "DCS.4062"),
        ({"source_instance": {**SOURCE, "ssl_enabled": True, "ssl_key": KEY}}, "DCS.4062"),
        ({"source_instance": {**SOURCE, "ssl_enabled": True, "ssl_cert": KEY, "ssl_key": CERTIFICATE}}, "DCS.4062"),
        ({"source_instance": {**SOURCE, "ssl_enabled": True, "ssl_cert": CERTIFICATE, "ssl_key": LOCKED}}, "DCS.4062"),
        ({"source_instance": {**SOURCE, "ssl_enabled": True, "ssl_cert": CERTIFICATE, "ssl_key": OTHER}}, "DCS.4062"),
        ({"migration_method": "all"}, "DCS.4062"),
        ({"task_name": "1"}, "DCS.4062"),
        ({"source_instance": {"addrs": ""}}, "DCS.4062"),
        ({"source_instance": {"addrs": "10.0.0.7"}}, "DCS.4062"),
        ({"source_instance": {"addrs": "10.0.0.7:70000"}}, "DCS.4062"),
        ({"source_instance": {"addrs": ",".join(["h:1"] * 33)}}, "DCS.4062"),
        ({"source_instance": {"id": "5560df16-cebf-4473-95c4-d1b573c16e79"}}, "DCS.4062"),
        ({"source_instance": {"addrs": "10.0.0.7:6379", "password": "one\r\ntwo"}}, "DCS.4062"),
        ({"bandwidth_limit_mb": "0"}, "DCS.4062"),
        ({"bandwidth_limit_mb": "10241"}, "DCS.4062"),
        ({"target_instance": {"id": "no-id"}}, "DCS.4061"),
        ({"target_instance": {}}, "DCS.4062"),
        ({"target_instance": {"id": "5560df16-cebf-4473-95c4-d1b573c16e79"}}, "DCS.3022"),
    ],
)
def test_bad_input_changes_nothing(tenant: Tenant, changed: dict[str, Any], code: str) -> None:
    answer = tenant.call("POST", "migration-task", body(tenant.instance()) | changed)
    assert answer.code == code
    assert not [secret for secret in SECRETS if secret in answer.body.decode()]
    assert tenant.call("GET", "migration-tasks").json["count"] == 0
    assert tenant.call("GET", "tasks").json["task_count"] == "0"


def test_a_text_that_is_no_url_is_named_as_it_was_given(tenant: Tenant) -> None:
    for text, shown in (
        ("ftp://host/dump.rdb", "'ftp://host/dump.rdb'"),
        ("ftp://host/d?sign=x", "the name of the file"),
    ):
        wanted = files(files=[{"file_name": text}])
        answer = tenant.call("POST", "migration-task", body(tenant.instance()) | wanted)
        assert f"backup_files.files[0].file_name is not valid: {shown} is not a URL" in answer.json["error_msg"]


def test_an_import_shows_no_signature(tenant: Tenant) -> None:
    target = tenant.instance()
    wanted = files(bucket_name="https://bucket.example.com/folder/", files=[{"file_name": FILE}, {"file_name": "b c"}])
    made = tenant.call("POST", "migration-task", body(target) | wanted).json["id"]
    shown = tenant.call("GET", f"migration-task/{made}")
    assert faults(shown.json, "ShowMigrationTaskResponse") == []
    assert (shown.json["migration_type"], shown.json["status"]) == ("backupfile_import", "MIGRATING")
    first, second = shown.json["source_instance"]["addrs"].split(",")
    assert (first, second) == (FILE.partition("?")[0], "https://bucket.example.com/folder/b%20c")
    assert shown.json["backup_files"]["files"][0]["file_name"] == first
    task = tenant.call("GET", f"tasks/{shown.json['background_task_id']}")
    listed = tenant.call("GET", "migration-tasks")
    assert faults(listed.json, "ListMigrationTaskResponse") == []
    for seen in (shown, task, listed, tenant.call("GET", f"migration-task/{made}/stats")):
        assert "sign=secret" not in seen.body.decode()
    assert tenant.call("POST", f"migration-task/{made}/cut-over").refusal == (400, "DCS.4957")
    tenant.call("POST", f"migration-task/{made}/stop")
    # The same record can get another source.
    ends = {"source_instance": {**SOURCE, "ssl_enabled": True}, "target_instance": {"id": target}}
    config = {"migration_method": "full_amount_migration", "resume_mode": "auto"} | ends
    assert tenant.call("POST", f"migration/{made}/task", config).status == 200
    shown = tenant.call("GET", f"migration-task/{made}").json
    assert (shown["migration_type"], shown["backup_files"]) == ("online_migration", None)
    assert (shown["source_instance"]["ssl_enabled"], shown["source_instance"]["ssl_check_hostname"]) == (True, True)


def test_projects_do_not_see_each_others_migrations(tenant: Tenant, new_tenant: Callable[[], Tenant]) -> None:
    other, target = new_tenant(), tenant.instance()
    made = tenant.call("POST", "migration-task", body(target)).json["id"]
    assert other.call("POST", "migration-task", body(target)).refusal == (404, "DCS.3022")
    assert other.call("GET", "migration-tasks").json["count"] == 0
    task = f"migration-task/{made}"
    for method, path, sent in (
        ("GET", task, None),
        ("GET", f"{task}/stats", None),
        ("GET", f"{task}/logs", None),
        ("POST", f"{task}/stop", None),
        ("POST", f"{task}/sync-stop", None),
        ("POST", f"{task}/cut-over", None),
        ("PUT", task, {"resume_mode": "auto"}),
        ("DELETE", "migration-tasks/delete", {"task_id_list": [made]}),
    ):
        assert other.call(method, path, sent or b"").refusal == (400, "DCS.4133"), (method, path)
    assert tenant.call("GET", "migration-tasks").json["count"] == 1
