"""Work that the agent of a node's host performs as a job, followed from a sub-step."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol, TypeVar

import msgspec

from cachewright import errors
from cachewright.hosts.calls import HostSilent
from cachewright.hosts.jobs import JobFailure, JobState
from cachewright.jobs.failure import JobFailed
from cachewright.jobs.spec import Job, encoded
from cachewright.model.instances import Node
from cachewright.operations.context import OperationContext
from cachewright.tasks.operation import ActionFailed, StepContext


class WithShare(Protocol):
    """What a job tells that reports its finished share."""

    @property
    def share(self) -> float: ...


Told = TypeVar("Told")
ToldShare = TypeVar("ToldShare", bound=WithShare)

_POLL_SECONDS = 1.0
_CODES: dict[JobFailure, str] = {
    "node": errors.CLUSTER_NOT_HEALTHY_IN_TIME,
    "disk": errors.NOT_ENOUGH_DISK,
    "storage": errors.BACKUP_STORAGE_FAILED,
    "damaged": errors.BACKUP_DAMAGED,
    "memory": errors.SHARDS_TOO_FULL,
    "copy": errors.UNEXPECTED_TASK_ERROR,
    "unexpected": errors.UNEXPECTED_TASK_ERROR,
}
_FINAL = frozenset[JobFailure]({"disk", "damaged", "memory"})


@contextmanager
def failures_of_actions() -> Iterator[None]:
    """Turn JobFailed into ActionFailed."""
    try:
        yield
    except JobFailed as failure:
        raise ActionFailed(failure.code, failure.message, failure.final) from failure


class JobForgotten(HostSilent):
    """The agent was started again, and the job has ended."""


class AgentJob:
    """One job. Methods raise HostSilent if the agent does not answer, and JobForgotten if it does not know the job."""

    def __init__(self, context: OperationContext, node: Node, job_id: str) -> None:
        """:param job_id: the same for each attempt that may continue with the job of the one before."""
        self._host = context.host
        self.node = node
        self._id = job_id

    async def begin(self, job: Job) -> None:
        """Ensure that the job runs or has succeeded."""
        await self._host.begin_job(self.node.id, self._id, encoded(job))

    async def state(self, known_stage: str, seconds: float = _POLL_SECONDS) -> JobState:
        return self._known(await self._host.job_state(self.node.id, self._id, known_stage, seconds))

    async def steer(self, orders: msgspec.Struct, known_stage: str, seconds: float) -> JobState:
        """Send orders, and return the state as soon as it is another stage than the known one."""
        encoded_orders: dict[str, Any] = msgspec.to_builtins(orders, str_keys=True)
        state = await self._host.steer_job(self.node.id, self._id, encoded_orders, known_stage, seconds)
        return self._known(state)

    async def release(self, offset: int) -> JobState:
        return self._known(await self._host.release_job(self.node.id, self._id, offset))

    async def end(self) -> None:
        """End the job and forget it, if its agent answers."""
        with suppress(HostSilent):
            await self.ensure_ended()

    async def ensure_ended(self) -> None:
        """End the job and forget it."""
        await self._host.end_job(self.node.id, self._id)

    def _known(self, state: JobState | None) -> JobState:
        if state is None:
            raise JobForgotten(f"the agent of host {self.node.host_name} was started again, and its jobs have ended")
        return state


async def perform(
    context: OperationContext, step: StepContext, node: Node, job: Job, progress: Callable[[JobState], None]
) -> JobState:
    """Perform a job to its end, and return its last state. An attempt after a kill of the server continues with the job
    of the one before. Raises HostSilent, or ActionFailed.

    :param progress: called about once a second.
    """
    own = AgentJob(context, node, f"{step.sub_step.id} {node.id}")
    await own.begin(job)
    try:
        while True:
            step.raise_if_cancelled()
            state = await own.state("")
            progress(state)
            if state.has_ended:
                require_success(node, state)
                break
    except HostSilent:
        raise  # the next attempt finds the job, or begins it again
    except BaseException:
        await asyncio.shield(own.end())
        raise
    await own.end()
    return state


async def perform_with_share(
    context: OperationContext, step: StepContext, node: Node, job: Job, kind: type[ToldShare]
) -> ToldShare:
    """Perform a job, as `perform` does. The share that it reports is the progress of the sub-step. Return what the job
    has told at its end."""

    def progress(state: JobState) -> None:
        step.measure(done=told(state, kind).share * step.sub_step.work.total, detail=f"{{host:{node.host_name}}}")

    return told(await perform(context, step, node, job, progress), kind)


def require_success(node: Node, state: JobState) -> None:
    """ActionFailed if a job has failed."""
    if state.failure is not None:
        message = f"host {node.host_name}: {state.text}"
        raise ActionFailed(state.code or _CODES[state.failure], message, state.final or state.failure in _FINAL)


def told(state: JobState, kind: type[Told]) -> Told:
    """Return the values that a job has reported."""
    found: dict[str, Any] = state.told
    return msgspec.convert(found, kind, str_keys=True)
