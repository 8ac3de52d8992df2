"""Webhook events as CloudEvents 1.0, in the structured JSON form."""

import uuid
from collections.abc import Mapping
from typing import Any

import msgspec

from cachewright.clock import rfc3339
from cachewright.model.incidents import Incident
from cachewright.model.tasks import Task, TaskStatus

OF_STATUS: Mapping[TaskStatus, str] = {
    "WAITING": "io.cachewright.task.waiting",
    "EXECUTING": "io.cachewright.task.executing",
    "SUCCESS": "io.cachewright.task.succeeded",
    "FAILED": "io.cachewright.task.failed",
}
INCIDENT_BEGAN = "io.cachewright.incident.began"
INCIDENT_ENDED = "io.cachewright.incident.ended"
TEST = "io.cachewright.webhook.test"


class CloudEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event. Source: CloudEvents 1.0.2, JSON event format 3.

    :ivar source: path of the event's subject in this server's API.
    :ivar time: RFC 3339.
    """

    specversion: str = "1.0"
    id: str
    source: str
    type: str
    subject: str
    time: str
    datacontenttype: str = "application/json"
    data: dict[str, Any]


def of_task(task: Task) -> CloudEvent:
    """Return the event for the present status of a task."""
    at = task.end_time or task.begin_time or task.created_at
    return CloudEvent(
        id=uuid.uuid4().hex,
        source=f"/v2/{task.project_id}/instances/{task.instance_id}",
        type=OF_STATUS[task.status],
        subject=task.id,
        time=rfc3339(at),
        data={
            "task_id": task.id,
            "instance_id": task.instance_id,
            "name": task.name,
            "status": task.status,
            "user_name": task.user_name,
            "created_at": rfc3339(task.created_at),
            "begin_time": task.begin_time and rfc3339(task.begin_time),
            "end_time": task.end_time and rfc3339(task.end_time),
            "error_code": task.error_code,
            "message": task.message,
        },
    )


def of_incident(incident: Incident) -> CloudEvent:
    """Return the event for the beginning of an incident or, if `ended_at` is set, for its end."""
    ended_at = incident.ended_at
    return CloudEvent(
        id=uuid.uuid4().hex,
        source=f"/v2/{incident.project_id}/instances/{incident.instance_id}",
        type=INCIDENT_BEGAN if ended_at is None else INCIDENT_ENDED,
        subject=incident.id,
        time=rfc3339(incident.began_at if ended_at is None else ended_at),
        data={
            "incident_id": incident.id,
            "instance_id": incident.instance_id,
            "kind": incident.kind,
            "status": "OPEN" if ended_at is None else "ENDED",
            "error_code": incident.error_code,
            "message": incident.detail,
            "began_at": rfc3339(incident.began_at),
            "ended_at": None if ended_at is None else rfc3339(ended_at),
        },
    )


def of_test(project_id: str, webhook_id: str, at: int) -> CloudEvent:
    """Return a test event."""
    return CloudEvent(
        id=uuid.uuid4().hex,
        source=f"/v2/{project_id}/webhooks/{webhook_id}",
        type=TEST,
        subject=webhook_id,
        time=rfc3339(at),
        data={},
    )
