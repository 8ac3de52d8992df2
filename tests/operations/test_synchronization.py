"""The copy of a new replica: its primary fails meanwhile, or it receives nothing."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from cachewright.model.instances import Node
from cachewright.operations.actions import replicas
from cachewright.operations.actions.replicas import Synchronization
from cachewright.tasks.operation import ActionFailed
from cachewright.valkey.client import NodeRefused
from cachewright.valkey.replica_sync import SyncState
from database_fixtures import an_instance
from standalone_node import node_at

FIRST, SECOND = (msgspec.structs.replace(node_at(port), id=str(port)) for port in (12001, 12002))
REPLICA = msgspec.structs.replace(node_at(12003), id="12003", role="replica")
COPYING = SyncState(
    primary_port=FIRST.port,
    is_linked=False,
    received=10,
    loaded=0,
    to_load=0,
    saved=0,
    to_save=0,
    is_saving=False,
    offset=0,
    primary_offset=100,
    sent=1,
    to_send=10,
    is_rewriting=False,
)
COMPLETE = msgspec.structs.replace(COPYING, primary_port=SECOND.port, is_linked=True, offset=100)


class Step:
    """Takes the place of a StepContext.

    :ivar shares: of the work that is done.
    """

    def __init__(self, stalled: float) -> None:
        self.policy = SimpleNamespace(stalled=stalled)
        self.sub_step = SimpleNamespace(work=SimpleNamespace(total=1000.0))
        self.shares: list[float] = []

    def measure(self, done: float, detail: str) -> None:
        self.shares.append(done)

    def raise_if_cancelled(self) -> None: ...

    def begin_wait(self, shown: str, *, cause: str) -> None: ...

    def end_wait(self) -> None: ...


def synchronization(
    monkeypatch: pytest.MonkeyPatch, step: Step, reports: Iterator[SyncState | None], primaries: Iterator[Node]
) -> Synchronization:
    """A synchronization that reads these reports, and None for a node that does not answer."""

    async def read(*_: object) -> SyncState:
        report = next(reports)
        if report is None:
            raise NodeRefused("LOADING")
        return report

    async def primary(_: object) -> Node:
        return next(primaries)

    monkeypatch.setattr(replicas.replica_sync, "read", read)
    monkeypatch.setattr(replicas, "_POLL_SECONDS", 0)
    monkeypatch.setattr(Synchronization, "_primary", primary)
    context: Any = SimpleNamespace(access=lambda _: None)
    instance = an_instance(spec_code="redis.ha.xu1.large.r2.1")
    return Synchronization(context, step, instance, REPLICA)  # type: ignore[arg-type]  # it has the members that are used


async def test_a_replica_follows_the_successor_of_a_primary_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    followed: list[str] = []

    async def follow(_: object, primary: Node, __: object) -> None:
        followed.append(primary.id)

    monkeypatch.setattr(replicas.plain_replication, "follow", follow)
    step = Step(stalled=60)
    reports = iter([COPYING, None, COPYING, COMPLETE])
    await synchronization(monkeypatch, step, reports, iter([FIRST, SECOND, SECOND])).ensure()
    assert followed == [SECOND.id, SECOND.id], "it asks until the replica says that it follows"
    assert step.shares == sorted(step.shares)
    assert next(reports, None) is None


async def test_a_replica_that_receives_nothing_fails_and_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    reports = iter([COPYING, COPYING, COPYING])
    with pytest.raises(ActionFailed, match="replica 12003 makes no progress") as failed:
        await synchronization(monkeypatch, Step(stalled=0), reports, iter([FIRST])).ensure()
    assert (failed.value.code, failed.value.final) == ("DCS.9006", False)
    assert next(reports) == COPYING, "it does not wait for more"
