"""Every member of the client's models of tasks, in the raw JSON of a real scale, and the documented example's form."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from contract import faults
from huaweicloudsdkcore.utils.http_utils import sanitize_for_serialization
from huaweicloudsdkdcs.v2 import (
    DeleteSingleInstanceRequest,
    ListBackgroundTaskRequest,
    ListCenterTaskRequest,
    ShowBackgroundTaskProgressRequest,
    ShowJobInfoRequest,
)
from terraform import Terraform

from caches import cache
from sdk_calls import created, ended, resize
from serving import Server

MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
MIGRATION = re.compile(
    r"\{node_id:[0-9a-f]{40},slot_range:\[\d+ \d+\],full_migration:[a-z ]+,inc_migration:[a-z ]+.*\}"
)
EXAMPLE = {
    "progress": int,
    "remain_time": int,
    "step_details": [
        {
            "step_id": str,
            "step_name": str,
            "step_status": str,
            "begin_time": str,
            "end_time": str,
            "error_code": type(None),
            "sub_step_details": [
                {
                    "sub_step_id": str,
                    "sub_step_name": str,
                    "sub_step_status": str,
                    "begin_time": str,
                    "end_time": str,
                    "detail": str,
                    "error_code": type(None),
                }
            ],
        }
    ],
}
"""Names and nesting of the reference's example; types of its table. Codes are null where nothing has failed."""


class Scale:
    def __init__(self, server: Server, client: Any) -> None:
        self.client = client
        self.raw = Terraform(server.credentials)
        self.instance_id = created(client, 1)
        caches = cache(client, self.instance_id)
        for number in range(2000):
            caches.set(f"key:{number}", "value")
        caches.close()
        self.task_id = resize(client, self.instance_id, 2)
        ended(client, self.instance_id, self.task_id)


@pytest.fixture(scope="module")
def scale(server: Server, client: Any) -> Iterator[Scale]:
    """A scale from one shard to two that has succeeded."""
    made = Scale(server, client)
    yield made
    client.delete_single_instance(DeleteSingleInstanceRequest(instance_id=made.instance_id))


def require_form(value: Any, form: Any, where: str = "$") -> None:
    """The members of `form` and no others, of its types, as deep as it goes."""
    if isinstance(form, dict):
        assert list(value) == list(form), where
        for name, member in form.items():
            require_form(value[name], member, f"{where}.{name}")
    elif isinstance(form, list):
        assert isinstance(value, list), where
        assert value, where
        for number, item in enumerate(value):
            require_form(item, form[0], f"{where}[{number}]")
    else:
        assert type(value) is form, (where, value)


def test_progress_has_the_examples_form(scale: Scale) -> None:
    answer = scale.raw.get(f"instances/{scale.instance_id}/tasks/{scale.task_id}/progress")
    require_form(answer, EXAMPLE)
    assert (answer["progress"], answer["remain_time"]) == (100, 0)
    first = answer["step_details"][0]
    assert first["step_name"] == "Pre-check."
    assert [part["sub_step_name"] for part in first["sub_step_details"]] == [
        "Resource check.",
        "Instance status check.",
    ]
    (migration,) = [step for step in answer["step_details"] if step["step_name"] == "Data migration."]
    assert any(MIGRATION.fullmatch(part["detail"]) for part in migration["sub_step_details"])
    for step in answer["step_details"]:
        for part in (step, *step["sub_step_details"]):
            assert MOMENT.fullmatch(part["begin_time"])
            assert MOMENT.fullmatch(part["end_time"])
        assert step["step_status"] == "FINISH"
        assert {part["sub_step_status"] for part in step["sub_step_details"]} == {"FINISH"}


def test_the_client_reads_of_progress_what_was_sent(scale: Scale) -> None:
    """Field by field: what the client's models give back is the raw answer, without what is null."""
    raw = scale.raw.get(f"instances/{scale.instance_id}/tasks/{scale.task_id}/progress")
    request = ShowBackgroundTaskProgressRequest(instance_id=scale.instance_id, task_id=scale.task_id)
    assert sanitize_for_serialization(scale.client.show_background_task_progress(request)) == without_nulls(raw)


def test_the_client_reads_of_the_lists_what_was_sent(scale: Scale) -> None:
    raw = scale.raw.get(f"instances/{scale.instance_id}/tasks")
    request = ListBackgroundTaskRequest(instance_id=scale.instance_id)
    read = sanitize_for_serialization(scale.client.list_background_task(request))
    more = {"error_code", "job_id"}  # the centre's model has them, the instance's has not
    listed = [{name: row[name] for name in row if name not in more} for row in raw["tasks"]]
    assert read == without_nulls(raw | {"tasks": listed})
    raw = scale.raw.get("tasks")
    read = sanitize_for_serialization(scale.client.list_center_task(ListCenterTaskRequest()))
    assert read == without_nulls(raw)


def test_the_client_reads_of_the_job_what_was_sent(scale: Scale) -> None:
    raw = scale.raw.get(f"jobs/{scale.task_id}")
    read = sanitize_for_serialization(scale.client.show_job_info(ShowJobInfoRequest(job_id=scale.task_id)))
    assert read == without_nulls(raw)


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_nulls(member) for name, member in value.items() if member is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    ("path", "kind", "null"),
    [
        ("instances/{i}/tasks", "ListBackgroundTaskResponse", {"error_code"}),
        ("tasks", "ListCenterTaskResponse", {"error_code"}),
        ("instances/{i}/tasks/{t}/progress", "ShowBackgroundTaskProgressResponse", {"error_code"}),
        ("jobs/{t}", "ShowJobInfoResponse", {"fail_reason"}),
    ],
)
def test_every_member_is_there_and_of_its_type(scale: Scale, path: str, kind: str, null: set[str]) -> None:
    """Null are codes where nothing has failed, and details of other kinds of task."""
    answer = scale.raw.get(path.format(i=scale.instance_id, t=scale.task_id))
    assert faults(answer, kind) == []
    rows = [row for row in answer.get("tasks", [answer]) if row.get("id", scale.task_id) == scale.task_id]
    for row in rows:
        assert {name for name, member in row.items() if member is None} <= null
    details = {name for row in rows for name, member in row.get("details", {}).items() if member is not None}
    changed = ("capacity", "resource_spec_code", "cache_mode", "replica_num")
    assert not details or details == {f"{when}_{what}" for when in ("old", "new") for what in changed}


def test_a_deleted_task_answers_with_a_message(scale: Scale) -> None:
    creation = scale.raw.get(f"instances/{scale.instance_id}/tasks")["tasks"][-1]
    status, answer = scale.raw.call("DELETE", f"instances/{scale.instance_id}/tasks/{creation['id']}")
    assert (status, answer) == (200, {"message": ""})
    assert faults(answer, "DeleteBackgroundTaskResponse") == []
