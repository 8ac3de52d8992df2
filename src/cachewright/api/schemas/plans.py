"""Shapes of resize previews (an extension), checks and jobs (StartInstanceResizeCheckJob, ShowJobInfo)."""

import msgspec

from cachewright.api.schemas.instance_bodies import NodeNames
from cachewright.flavors import parse
from cachewright.model.instances import Instance
from cachewright.model.tasks import DEFAULT_MODE, MigrationMode, Step, SubStep, Task
from cachewright.operations.actions.cluster_type import copy_to_cluster
from cachewright.operations.actions.replicas import add_replica
from cachewright.operations.resize.cost_model import MOVE
from cachewright.operations.resize.giant_keys import GiantKey
from cachewright.operations.resize.operation import Preview
from cachewright.tasks.progress import planned_seconds

_COPIES = frozenset({add_replica.name, copy_to_cluster.name})
"""Actions that copy all data of a node."""

_JOB_STATUS = {"WAITING": "INIT", "EXECUTING": "RUNNING", "SUCCESS": "SUCCESS", "FAILED": "FAIL"}


class CheckBody(msgspec.Struct, frozen=True):
    """Both fields of the reference are optional there, but a check needs a spec code. The others are extensions; they
    are as in ResizeInstance."""

    spec_code: str
    new_capacity: float | None = None
    reserved_ip: NodeNames = []
    node_list: NodeNames = []
    migration_mode: MigrationMode = DEFAULT_MODE


class ResizeCancelled(msgspec.Struct, frozen=True):
    result: str = "success"


class JobId(msgspec.Struct, frozen=True):
    job_id: str


class JobInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A job. Times are strings of epoch milliseconds, as in the SDKs."""

    job_id: str
    job_type: str
    status: str
    begin_time: str | None
    end_time: str | None
    fail_reason: str | None


class Blocker(msgspec.Struct, frozen=True):
    error_code: str
    reason: str


class PlannedSubStep(msgspec.Struct, frozen=True, kw_only=True):
    sub_step_name: str
    detail: str
    slots: int
    keys: int
    bytes: int
    seconds: float


class PlannedStep(msgspec.Struct, frozen=True, kw_only=True):
    step_name: str
    seconds: float
    sub_steps: list[PlannedSubStep]


class PlannedMode(msgspec.Struct, frozen=True, kw_only=True):
    """Forecast of a mode. `longest_wait_ms` is the longest wait of a client that uses a node whose slots move."""

    mode: MigrationMode
    seconds: float
    longest_wait_ms: float


class PlannedGiantKey(msgspec.Struct, frozen=True, kw_only=True):
    """A large value in a slot that moves. `key` is its name, with `\\xNN` for other bytes than printable ASCII.
    `source` is the id of its node, `stall_ms` the expected time for which the node that receives it serves no clients.
    """

    slot: int
    key: str
    type: str
    bytes: int
    elements: int
    source: str
    stall_ms: float


class ResizePlan(msgspec.Struct, frozen=True, kw_only=True):
    """Preview of a resize. `seconds` is its estimated duration in `migration_mode`, and `modes` are forecasts of all
    modes; `clients` says whether clients are connected to a node whose slots move, without which all modes move slots
    alike. `blockers` are reasons for which it would fail. `replicas_before` and `replicas_after` are those of each
    shard, `bytes` those of the slots that move; what a new replica copies is in the `bytes` of its sub-step.

    `giant_keys` are values of at least `giant_key_bytes`, those with the longest stall first. If `giant_keys_complete`
    is false, there was only time to look at some of the keys.
    """

    spec_code: str
    shards_before: int
    shards_after: int
    replicas_before: int
    replicas_after: int
    slots: int
    keys: int
    bytes: int
    seconds: float
    migration_mode: MigrationMode
    modes: list[PlannedMode]
    clients: bool
    blockers: list[Blocker]
    giant_key_bytes: int
    giant_keys: list[PlannedGiantKey]
    giant_keys_complete: bool
    steps: list[PlannedStep]


def job_info(task: Task) -> JobInfo:
    return JobInfo(
        job_id=task.id,
        job_type=task.name,
        status=_JOB_STATUS[task.status],
        begin_time=None if task.begin_time is None else str(task.begin_time),
        end_time=None if task.end_time is None else str(task.end_time),
        fail_reason=f"{task.error_code}: {task.message}" if task.error_code else None,
    )


def ended_job(job_id: str, job_type: str, at: int) -> JobInfo:
    """Return a job that has succeeded already."""
    return JobInfo(
        job_id=job_id,
        job_type=job_type,
        status=_JOB_STATUS["SUCCESS"],
        begin_time=str(at),
        end_time=str(at),
        fail_reason=None,
    )


def resize_plan(instance: Instance, spec_code: str, preview: Preview) -> ResizePlan:
    steps = [_step(step) for step in preview.steps]
    sub_steps = [sub_step for step in steps for sub_step in step.sub_steps]
    old, new = parse(instance.spec_code), parse(spec_code)
    return ResizePlan(
        spec_code=spec_code,
        shards_before=old.shards,
        shards_after=new.shards,
        replicas_before=old.copies - 1,
        replicas_after=new.copies - 1,
        slots=sum(sub_step.slots for sub_step in sub_steps),
        keys=sum(sub_step.keys for sub_step in sub_steps),
        bytes=sum(sub_step.bytes for sub_step in sub_steps if sub_step.slots),
        seconds=round(preview.seconds, 2),
        migration_mode=preview.mode,
        modes=[
            PlannedMode(
                mode=forecast.mode,
                seconds=round(forecast.seconds, 2),
                longest_wait_ms=round(forecast.longest_wait * 1000, 1),
            )
            for forecast in preview.modes
        ],
        clients=preview.clients,
        blockers=[Blocker(code, reason) for code, reason in preview.blockers],
        giant_key_bytes=preview.giant_keys.minimum_bytes,
        giant_keys=[_giant_key(giant) for giant in preview.giant_keys.keys],
        giant_keys_complete=preview.giant_keys.complete,
        steps=steps,
    )


def _giant_key(giant: GiantKey) -> PlannedGiantKey:
    value = giant.value
    return PlannedGiantKey(
        slot=value.slot,
        key=value.key,
        type=value.type,
        bytes=value.bytes,
        elements=value.elements,
        source=giant.source,
        stall_ms=round(giant.stall_ms, 1),
    )


def _step(step: Step) -> PlannedStep:
    return PlannedStep(
        step_name=step.name,
        seconds=round(planned_seconds([step]), 2),
        sub_steps=[_sub_step(sub_step) for sub_step in step.sub_steps],
    )


def _sub_step(sub_step: SubStep) -> PlannedSubStep:
    moves = sub_step.action == MOVE
    arguments = sub_step.arguments
    return PlannedSubStep(
        sub_step_name=sub_step.name,
        detail=sub_step.detail,
        slots=arguments["last"] - arguments["first"] + 1 if moves else 0,
        keys=arguments["keys"] if moves else 0,
        bytes=int(sub_step.work.total) if sub_step.action in _COPIES or (moves and arguments["keys"]) else 0,
        seconds=round(sub_step.work.seconds, 2),
    )
