"""Jobs: long work of an agent on the data of one node, which calls begin and ask about.

A call ends within seconds; a snapshot takes minutes. So a call begins a job, further calls ask how far it is, and it
lives in the process of the agent. If that process ends, the job is lost, and the server begins it again.
"""

from collections.abc import Mapping
from typing import Any, Literal, Protocol

import msgspec

JobFailure = Literal["node", "disk", "storage", "damaged", "memory", "copy", "unexpected"]
"""What has failed: the node does not answer or refuses, the disk of the host, the storage of backups; or the backup is
damaged, or the data is larger than the memory of the node; or (`copy`) what has a code of its own."""


ORDER_SECONDS = 4.0
"""Time in which orders must reach a job, besides the time of the call itself. Later they have no effect."""


class JobState(msgspec.Struct, frozen=True, kw_only=True):
    """How far a job is.

    :ivar stage: name of the part of the job that runs now; jobs of one part have none.
    :ivar told: what the job has told until now: counters, and results.
    :ivar failure: what has failed, :ivar text: for people.
    :ivar code: row of the error table, of a failure `copy`, :ivar final: whether no further attempt can help.
    """

    stage: str = ""
    told: dict[str, Any] = {}
    has_ended: bool = False
    failure: JobFailure | None = None
    text: str = ""
    code: str = ""
    final: bool = False


class Jobs(Protocol):
    """The jobs of one machine. Each has an id that its caller chooses."""

    async def begin_job(self, node_id: str, job_id: str, job: Mapping[str, Any]) -> None:
        """Ensure that a job runs or has succeeded; one that has failed begins again. `job` is encoded for
        `cachewright.jobs`."""

    async def perform_job(self, node_id: str, job_id: str, job: Mapping[str, Any], within: float) -> JobState:
        """Perform a short job, and forget it. It is ended after so many seconds."""

    async def job_state(self, node_id: str, job_id: str, known_stage: str, within: float) -> JobState | None:
        """Return how far a job is, as soon as it has ended or is in another stage than the known one, and after so many
        seconds at the latest. None if this process of the agent does not know the job."""

    async def steer_job(
        self, node_id: str, job_id: str, orders: Mapping[str, Any], known_stage: str, within: float
    ) -> JobState | None:
        """Same as `job_state`, after the job has got orders, which are encoded for `cachewright.jobs`."""

    async def release_job(self, node_id: str, job_id: str, offset: int) -> JobState | None:
        """Let a job that waits for it go on as soon as its node has applied the writes up to `offset`. Return how far
        the job is when it is in its next stage, or has ended."""

    async def end_job(self, node_id: str, job_id: str) -> None:
        """End a job, if it runs, and forget it."""
