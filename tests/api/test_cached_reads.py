"""Frequent reads are cached, and no response is outdated."""

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing

import pytest
from tenants import PASSWORD, Tenant

from cachewright.api.schemas.identity import ACCOUNT
from cachewright.services import accounts
from cachewright.store import tasks, users

ELSEWHERE = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute(sys.argv[2], sys.argv[3:]); c.commit()"


@pytest.fixture
def watched(tenant: Tenant) -> tuple[str, str]:
    """Instance and task whose progress has just been asked for, twice."""
    instance_id = tenant.instance()
    task = tenant.add_task(instance_id, percent=41)
    for _ in range(2):
        assert progress(tenant, instance_id, task.id) == 41
    return instance_id, task.id


def path(instance_id: str, task_id: str) -> str:
    return f"instances/{instance_id}/tasks/{task_id}/progress"


def progress(tenant: Tenant, instance_id: str, task_id: str) -> int:
    return int(tenant.call("GET", path(instance_id, task_id)).json["progress"])


def by_another_process(tenant: Tenant, statement: str, *values: str) -> None:
    file = tenant.site.settings.database_file
    subprocess.run([sys.executable, "-c", ELSEWHERE, file, statement, *values], check=True)


def test_a_changed_task_is_seen_at_once(tenant: Tenant, watched: tuple[str, str]) -> None:
    for percent in range(42, 60):
        with tenant.site.database.write() as connection:
            tasks.change(connection, watched[1], percent=percent)
        assert progress(tenant, *watched) == percent


def test_a_task_that_another_process_changes_is_seen_at_once(tenant: Tenant, watched: tuple[str, str]) -> None:
    by_another_process(tenant, "UPDATE tasks SET percent = 42 WHERE id = ?", watched[1])
    assert progress(tenant, *watched) == 42


def test_a_task_that_is_forgotten_is_gone_at_once(tenant: Tenant, watched: tuple[str, str]) -> None:
    by_another_process(tenant, "DELETE FROM tasks WHERE id = ?", watched[1])
    assert tenant.call("GET", path(*watched)).refusal == (404, "DCS.4958")
    by_another_process(tenant, "DELETE FROM instances WHERE id = ?", watched[0])
    assert tenant.call("GET", path(*watched)).refusal == (404, "DCS.3022")


def test_a_task_that_was_not_there_is_there_at_once(tenant: Tenant) -> None:
    instance_id, task_id = tenant.instance(), "0" * 31 + "7"
    for _ in range(2):
        assert tenant.call("GET", path(instance_id, task_id)).refusal == (404, "DCS.4958")
    tenant.add_task(instance_id, id=task_id, percent=7)
    assert progress(tenant, instance_id, task_id) == 7


def test_a_disabled_key_is_refused_at_once(tenant: Tenant, watched: tuple[str, str]) -> None:
    for enabled, status in ((False, 401), (True, 200), (False, 401)):
        with tenant.site.database.write() as connection:
            accounts.enable_key(connection, tenant.key.access_key, enabled)
        assert tenant.call("GET", path(*watched)).status == status


def test_a_key_that_another_process_revokes_is_refused_at_once(tenant: Tenant, watched: tuple[str, str]) -> None:
    by_another_process(tenant, "DELETE FROM access_keys WHERE access_key = ?", tenant.key.access_key)
    assert tenant.call("GET", path(*watched)).refusal == (401, "DCS.1001")


def test_a_user_who_is_disabled_is_refused_at_once(tenant: Tenant, watched: tuple[str, str]) -> None:
    with tenant.site.database.write() as connection:
        users.enable(connection, tenant.key.user_id, False)
    assert tenant.call("GET", path(*watched)).refusal == (401, "DCS.1001")


def test_a_role_that_is_taken_away_is_gone_at_once(tenant: Tenant, watched: tuple[str, str]) -> None:
    with tenant.site.database.write() as connection:
        accounts.grant(connection, tenant.user_name, tenant.project.name, None)
    assert tenant.call("GET", path(*watched)).refusal == (401, "DCS.1004")


def test_a_token_that_is_handed_back_is_refused_at_once(tenant: Tenant, watched: tuple[str, str]) -> None:
    user = tenant.colleague("viewer", PASSWORD)
    who = {"name": user.user_name, "password": PASSWORD, "domain": {"name": ACCOUNT}}
    body = {
        "auth": {
            "identity": {"methods": ["password"], "password": {"user": who}},
            "scope": {"project": {"id": tenant.project_id}},
        }
    }
    issued = tenant.call("POST", "/v3/auth/tokens", body)
    signed_in = {"X-Auth-Token": issued.headers["x-subject-token"]}
    for _ in range(2):
        assert tenant.send("GET", tenant.path(path(*watched)), signed_in).status == 200
    handed_back = {**signed_in, "X-Subject-Token": signed_in["X-Auth-Token"]}
    assert tenant.send("DELETE", "/v3/auth/tokens", handed_back).status == 204
    assert tenant.send("GET", tenant.path(path(*watched)), signed_in).refusal == (401, "DCS.1001")


def test_what_is_kept_for_one_project_is_not_told_to_another(
    tenant: Tenant, watched: tuple[str, str], new_tenant: Callable[[], Tenant]
) -> None:
    stranger = new_tenant()
    assert stranger.call("GET", path(*watched)).refusal == (404, "DCS.3022")
    assert stranger.call("GET", tenant.path(path(*watched))).refusal == (401, "DCS.1004")
    assert tenant.colleague("viewer").call("GET", path(*watched)).status == 200


def test_a_wrong_signature_is_refused_where_the_answer_is_kept(tenant: Tenant, watched: tuple[str, str]) -> None:
    headers = tenant.signed("GET", tenant.path(path(*watched)), b"", "", {}).header_params
    claim = headers["Authorization"]
    forged = {**headers, "Authorization": claim[:-1] + ("0" if claim[-1] != "0" else "1")}
    assert tenant.send("GET", tenant.path(path(*watched)), forged).refusal == (401, "DCS.1001")


def test_what_is_kept_is_told_while_the_database_is_locked(tenant: Tenant, watched: tuple[str, str]) -> None:
    file = tenant.site.settings.database_file
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("UPDATE tasks SET percent = 99 WHERE id = ?", (watched[1],))
        assert progress(tenant, *watched) == 41
        other.execute("ROLLBACK")
