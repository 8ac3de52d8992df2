"""Snapshots that agents receive: what begins, and what does not."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from cachewright.hosts.calls import HostSilent
from cachewright.hosts.jobs import JobState
from cachewright.operations.agent_snapshot import AgentReceiver
from cachewright.operations.context import OperationContext
from write_log_fixtures import a_node


class BusyAgent:
    """An agent with the whole snapshot of an interrupted attempt, which does not answer for some moments.

    :ivar begun: jobs that the server wants.
    """

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.answers = False
        self.is_whole = True

    async def end_job(self, node_id: str, job_id: str) -> None:
        if not self.answers:
            raise HostSilent("it does not answer within 15 s")
        self.is_whole = False

    async def begin_job(self, node_id: str, job_id: str, job: dict[str, Any]) -> None:
        self.begun.append(job_id)

    async def job_state(self, node_id: str, job_id: str, known_stage: str, within: float) -> JobState:
        told = {"server_version": "9.0.0", "memory": 1}
        return JobState(stage="begun" if self.is_whole else "open", told=told, has_ended=self.is_whole)


async def test_the_snapshot_of_an_interrupted_attempt_is_not_used() -> None:
    host = BusyAgent()
    context = cast("OperationContext", SimpleNamespace(host=host))
    receiver = AgentReceiver(context, a_node(), "secret", "snapshot-b")
    with pytest.raises(HostSilent, match="does not answer"):
        await receiver.open(by_slot=False)
    assert host.begun == [], "it continues with the job of the attempt before, at another moment than the other shards"
    host.answers = True
    opened = await receiver.open(by_slot=False)
    assert (opened.server_version, host.begun) == ("9.0.0", ["snapshot-b n"])
