"""Instances and tasks through the cloud's own SDK: created, resized, waited for."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from huaweicloudsdkcore.exceptions.exceptions import ClientRequestException, SdkException, ServiceResponseException
from huaweicloudsdkdcs.v2 import (
    CopyInstanceRequest,
    CreateInstanceBody,
    CreateInstanceRequest,
    ListBackgroundTaskRequest,
    ListBackupRecordsRequest,
    ResizeInstanceBody,
    ResizeInstanceRequest,
    ShowBackgroundTaskProgressRequest,
    ShowInstanceRequest,
)

from serving import PATIENCE_SECONDS, Server, until

PASSWORD = "Test-password-1"
ENDED = frozenset({"SUCCESS", "FAILED"})

_NOT_RUNNING = "DCS.4049"
_OVER = object()


def spec(shards: int, *, copies: int = 1, shard_gb: int = 1) -> str:
    return f"redis.cluster.xu1.large.r{copies}.s{shard_gb}.{shards * shard_gb}"


def create_body(shards: int = 3, **changed: Any) -> CreateInstanceBody:
    copies = changed.pop("copies", 1)
    wished = {
        "name": "cache",
        "engine": "Redis",
        "engine_version": "7.0",
        "capacity": shards,
        "spec_code": spec(shards, copies=copies),
        "az_codes": ["local"],
        "vpc_id": "local",
        "subnet_id": "local",
        "password": PASSWORD,
    }
    return CreateInstanceBody(**(wished | changed))


def window(later: int) -> dict[str, str]:
    """A maintenance window of four hours that begins so many hours after the present one."""
    now = datetime.now(UTC)
    times = (now + timedelta(hours=later), now + timedelta(hours=later + 4))
    return dict(zip(("maintain_begin", "maintain_end"), (f"{time:%H}:00:00" for time in times), strict=True))


def create(client: Any, shards: int = 3, **changed: Any) -> str:
    answer = client.create_instance(CreateInstanceRequest(body=create_body(shards, **changed)))
    return str(answer.instances[0].instance_id)


def created(client: Any, shards: int = 3, **changed: Any) -> str:
    """Create an instance, wait until it is RUNNING, and return its id."""
    instance_id = create(client, shards, **changed)
    until(lambda: show(client, instance_id).status == "RUNNING", "the instance is not RUNNING", lasting=True)
    return instance_id


def resize(client: Any, instance_id: str, shards: int, **sizes: int) -> str:
    """Start a resize, and return the id of its task."""
    gigabytes = shards * sizes.get("shard_gb", 1)
    body = ResizeInstanceBody(spec_code=spec(shards, **sizes), new_capacity=gigabytes)
    client.resize_instance(ResizeInstanceRequest(instance_id=instance_id, body=body))
    return str(newest_task(client, instance_id).id)


def accepted(request: Callable[[], Any]) -> Any:
    """Return the answer to a request as soon as no incident refuses it. A fault may be found when it is over, after the
    instance was seen to run."""

    def answer() -> tuple[Any] | None:
        try:
            return (request(),)
        except ClientRequestException as refused:
            if refused.error_code != _NOT_RUNNING:
                raise
            return None

    return until(answer, "the instance does not run")[0]


def show(client: Any, instance_id: str) -> Any:
    return client.show_instance(ShowInstanceRequest(instance_id=instance_id))


def gone(client: Any, instance_id: str) -> bool:
    """Whether the instance does not exist any more. False if the server does not answer."""
    try:
        show(client, instance_id)
    except SdkException as error:
        return isinstance(error, ServiceResponseException) and error.error_code == "DCS.3022"
    return False


def tasks_of(client: Any, instance_id: str) -> list[Any]:
    """The tasks of an instance, the newest first."""
    return list(client.list_background_task(ListBackgroundTaskRequest(instance_id=instance_id)).tasks)


def newest_task(client: Any, instance_id: str) -> Any:
    return tasks_of(client, instance_id)[0]


def unfinished(client: Any, instance_id: str) -> list[Any]:
    """The tasks of an instance that have not ended."""
    return [task for task in tasks_of(client, instance_id) if task.status not in ENDED]


def progress(client: Any, instance_id: str, task_id: str) -> Any:
    request = ShowBackgroundTaskProgressRequest(instance_id=instance_id, task_id=task_id)
    return client.show_background_task_progress(request)


def ended(client: Any, instance_id: str, task_id: str, seconds: float = PATIENCE_SECONDS) -> Any:
    """Wait for the end of a task, and return its row."""

    def row() -> Any:
        tasks = tasks_of(client, instance_id)
        return next((task for task in tasks if task.id == task_id and task.status in ENDED), None)

    return until(row, f"task {task_id} has not ended", seconds, lasting=True)


def resize_until(
    client: Any, instance_id: str, shards: int, seen: Callable[[str], Any], **sizes: int
) -> tuple[str, Any]:
    """Start a resize; the id of its running task, and the first true result of `seen` for that id.

    If the resize ends before `seen` is true, the instance is resized back, and the resize is repeated.
    """
    before = show(client, instance_id).sharding_count
    for _ in range(40):
        task_id = resize(client, instance_id, shards, **sizes)
        answer = until(
            lambda task_id=task_id: seen(task_id) or (newest_task(client, instance_id).status in ENDED and _OVER),
            f"task {task_id} is not seen as it should be",
        )
        if answer is not _OVER:
            return task_id, answer
        assert ended(client, instance_id, task_id).status == "SUCCESS"
        assert ended(client, instance_id, resize(client, instance_id, before, **sizes)).status == "SUCCESS"
    raise AssertionError("each resize was over before it was seen as it should be")


def backed_up(client: Any, instance_id: str) -> str:
    """Id of a new backup that has succeeded."""
    backup_id = client.copy_instance(CopyInstanceRequest(instance_id=instance_id)).backup_id

    def is_there() -> bool:
        records = client.list_backup_records(ListBackupRecordsRequest(instance_id=instance_id)).backup_record_response
        record = next(one for one in records if one.backup_id == backup_id)
        assert record.status != "failed", record
        return bool(record.status == "succeed")

    until(is_there, "the backup has not succeeded", lasting=True)
    return str(backup_id)


def moves_of_ranges(seen: Any) -> list[Any]:
    """Sub-steps that move a range of slots, of a resize's progress; none before they are planned.

    A wait for the rewrite of an append-only file, which loading can start, is left out.
    """
    migration = next((step.sub_step_details for step in seen.step_details if step.step_name == "Data migration."), [])
    return [sub_step for sub_step in migration if not sub_step.sub_step_name.startswith("Child process.")]


def in_migration(client: Any, instance_id: str, task_id: str) -> Any:
    """Progress of a resize during its data migration; None before and after."""
    seen = progress(client, instance_id, task_id)
    steps = {step.step_name: step.step_status for step in seen.step_details}
    return seen if steps.get("Data migration.") == "EXECUTING" else None


def held_in_migration(
    server: Server, client: Any, instance_id: str, shards: int, *, copies: int = 1, **control: Any
) -> str:
    """Start a resize; the id of its task, which waits in the data migration because its latency ceiling is unreachable.

    `control` are further control settings. A control request without a ceiling lets the task continue. A resize that
    was over before it had its ceiling is repeated.
    """
    limits = control | {"latency_ceiling_ms": 0.000001}
    limited: set[str] = set()

    def held(task_id: str) -> bool:
        if task_id not in limited:
            limited.add(task_id)
            server.call("PUT", f"instances/{instance_id}/tasks/{task_id}/control", limits)
        return is_held(client, instance_id, task_id)

    return resize_until(client, instance_id, shards, held, copies=copies)[0]


def is_held(client: Any, instance_id: str, task_id: str) -> bool:
    """Whether a range of slots waits for the latency ceiling of a resize."""
    seen = progress(client, instance_id, task_id)
    details = [sub.detail for step in seen.step_details for sub in step.sub_step_details or []]
    return any("status:waiting for the latency ceiling" in detail for detail in details)
