"""Calls of the cloud's unmodified SDK that the demo needs, with results as the demo's own types.

Two extensions of the API, which the SDK lacks, tell more than the SDK's calls: the plan of a resize, and the record of
a task with its estimates in fractions of a second.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import msgspec
from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkcore.exceptions.exceptions import SdkException, ServiceResponseException
from huaweicloudsdkdcs.v2 import (
    CreateInstanceBody,
    CreateInstanceRequest,
    DcsClient,
    DeleteSingleInstanceRequest,
    ListBackgroundTaskRequest,
    ResizeInstanceBody,
    ResizeInstanceRequest,
    ShowBackgroundTaskProgressRequest,
    ShowBackgroundTaskProgressResponse,
    ShowInstanceRequest,
)

from cachewright.cli.demo.prediction import Estimate
from cachewright.client.account import Account
from cachewright.client.errors import RequestRefused, Unreachable
from cachewright.client.http import ApiClient
from cachewright.client.progress import Progress, Step, SubStep, parse_time

_ANYWHERE = "local"


class CloudRefused(Exception):
    """A call of the SDK failed. `status` is None without an HTTP response."""

    def __init__(self, call: str, reason: str, status: int | None = None) -> None:
        super().__init__(f"{call}: {reason}")
        self.status = status


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """Content of credentials.json."""

    project_id: str
    access_key: str
    secret_key: str
    endpoint: str


class Size(msgspec.Struct, frozen=True):
    """Size of a cluster. `copies` counts the primary and the replicas of a shard."""

    shards: int
    shard_gb: int
    copies: int = 1

    @property
    def capacity(self) -> int:
        return self.shards * self.shard_gb

    @property
    def spec_code(self) -> str:
        return f"redis.cluster.xu1.large.r{self.copies}.s{self.shard_gb}.{self.capacity}"


class Single(msgspec.Struct, frozen=True):
    """Size of an instance of one node."""

    capacity: float = 0.125
    spec_code: str = "redis.single.xu1.tiny.128"


class Instance(msgspec.Struct, frozen=True, kw_only=True):
    """Status of an instance, and the address of one of its nodes."""

    status: str
    ip: str
    port: int


class TaskRow(msgspec.Struct, frozen=True, kw_only=True):
    """One task of a list. `updated` is its end time, None while it runs."""

    id: str
    name: str
    status: str
    created: datetime | None
    updated: datetime | None

    @property
    def ended(self) -> bool:
        return self.status in {"SUCCESS", "FAILED"}


class Cloud:
    def __init__(self, access: Access) -> None:
        self._extensions = ApiClient(msgspec.convert(msgspec.to_builtins(access), Account))
        credentials = BasicCredentials(access.access_key, access.secret_key, access.project_id)
        self._client: Any = DcsClient.new_builder().with_credentials(credentials).with_endpoint(access.endpoint).build()

    def create(self, name: str, size: Size | Single, password: str) -> str:
        """Request an instance and return its id."""
        body = CreateInstanceBody(
            name=name,
            engine="Redis",
            engine_version="7.0",
            capacity=size.capacity,
            spec_code=size.spec_code,
            az_codes=[_ANYWHERE],
            vpc_id=_ANYWHERE,
            subnet_id=_ANYWHERE,
            password=password,
        )
        with _refusals("create_instance"):
            made = self._client.create_instance(CreateInstanceRequest(body=body)).instances
        return str(made[0].instance_id)

    def instance(self, instance_id: str) -> Instance | None:
        """Show an instance; None if it does not exist."""
        try:
            with _refusals("show_instance"):
                shown = self._client.show_instance(ShowInstanceRequest(instance_id=instance_id))
        except CloudRefused as refused:
            if refused.status == 404:
                return None
            raise
        return Instance(status=shown.status, ip=(shown.ip or "").split(",")[0], port=shown.port or 0)

    def resize(self, instance_id: str, size: Size) -> None:
        body = ResizeInstanceBody(spec_code=size.spec_code, new_capacity=size.capacity)
        with _refusals("resize_instance"):
            self._client.resize_instance(ResizeInstanceRequest(instance_id=instance_id, body=body))

    def planned_seconds(self, instance_id: str, size: Size) -> float:
        """Expected duration of a resize, which is not started."""
        body = {"spec_code": size.spec_code, "new_capacity": size.capacity}
        with _refusals("resize plan"):
            plan = self._extensions.ask("POST", f"instances/{instance_id}/resize/plan", body)
        return float(plan["seconds"])

    def estimates(self, instance_id: str, task_id: str) -> tuple[Estimate, ...]:
        """Estimates that the record of a task keeps, in fractions of a second."""
        with _refusals("task record"):
            record = self._extensions.ask("GET", f"instances/{instance_id}/tasks/{task_id}")
        return tuple(
            Estimate(percent=forecast["progress"], at=moment.timestamp(), remaining=forecast["remain_seconds"])
            for forecast in record["forecasts"]
            if (moment := parse_time(forecast["at"]))
        )

    def delete(self, instance_id: str) -> None:
        with _refusals("delete_single_instance"):
            self._client.delete_single_instance(DeleteSingleInstanceRequest(instance_id=instance_id))

    def tasks(self, instance_id: str) -> list[TaskRow]:
        """List tasks, newest first."""
        with _refusals("list_background_task"):
            rows = self._client.list_background_task(ListBackgroundTaskRequest(instance_id=instance_id)).tasks
        return [
            TaskRow(
                id=row.id,
                name=row.name,
                status=row.status,
                created=parse_time(row.created_at),
                updated=parse_time(row.updated_at),
            )
            for row in rows or []
        ]

    def progress(self, instance_id: str, task_id: str) -> Progress:
        asked = ShowBackgroundTaskProgressRequest(instance_id=instance_id, task_id=task_id)
        with _refusals("show_background_task_progress"):
            return progress_of(self._client.show_background_task_progress(asked))


def progress_of(answer: ShowBackgroundTaskProgressResponse) -> Progress:
    return Progress(
        percent=answer.progress or 0,
        remaining=answer.remain_time,
        steps=tuple(
            Step(
                name=step.step_name or "",
                status=step.step_status or "",
                begin=parse_time(step.begin_time),
                end=parse_time(step.end_time),
                error_code=step.error_code or "",
                sub_steps=_sub_steps(step.sub_step_details or []),
            )
            for step in answer.step_details or []
        ),
    )


def _sub_steps(details: Sequence[Any]) -> tuple[SubStep, ...]:
    return tuple(
        SubStep(
            name=detail.sub_step_name or "",
            status=detail.sub_step_status or "",
            begin=parse_time(detail.begin_time),
            end=parse_time(detail.end_time),
            detail=detail.detail or "",
            error_code=detail.error_code or "",
        )
        for detail in details
    )


@contextmanager
def _refusals(call: str) -> Iterator[None]:
    try:
        yield
    except ServiceResponseException as error:
        reason = f"{error.status_code} {error.error_code} {error.error_msg}"
        raise CloudRefused(call, reason, error.status_code) from error
    except RequestRefused as error:
        raise CloudRefused(call, str(error), error.status) from error
    except (SdkException, Unreachable) as error:
        raise CloudRefused(call, str(error)) from error
