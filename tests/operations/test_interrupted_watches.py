"""What watches a move of slots continues after a moment in which the claim to perform tasks was not valid."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cachewright.errors import DatabaseUnavailable
from cachewright.operations.slot_moves import silent_nodes
from cachewright.operations.slot_moves.equal_nodes import Follower
from cachewright.operations.slot_moves.move_hazards import watch_hazards
from cachewright.operations.slot_moves.silent_nodes import SilentNodes
from cachewright.valkey.migration.failure import MigrationFailed
from cachewright.valkey.slots import SlotRange
from claim_of_server import RefusingClaim, access_with, elsewhere
from standalone_node import OPEN, nowhere, started


class Step:
    """A step that makes no progress, and records when it begins to wait."""

    def __init__(self) -> None:
        self.sub_step = SimpleNamespace(done=0, waiting=None, progress_at=None)
        self.waits = asyncio.Event()

    def begin_wait(self, cause: str, seconds: float) -> None:
        self.waits.set()


async def test_a_silent_node_is_shown_after_an_interruption(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silent_nodes, "_POLL_SECONDS", 0.01)
    monkeypatch.setattr(silent_nodes, "_STANDING_SECONDS", 0)
    step: Any = Step()
    asked: list[Any] = []

    async def request(node: Any, *_: Any) -> None:
        asked.append(node)
        raise DatabaseUnavailable("the claim was not renewed") if len(asked) == 1 else TimeoutError

    monkeypatch.setattr(silent_nodes, "request_once", request)
    async with SilentNodes(step, [nowhere()], OPEN).watching(), asyncio.timeout(30):
        await step.waits.wait()


async def test_libraries_are_followed_after_an_interruption(tmp_path: Path) -> None:
    claim = RefusingClaim()
    async with started(tmp_path) as local:
        node = elsewhere(local)
        follower = Follower(source=node, target=node, old_primaries=[node], access=access_with(claim))
        async with follower.following(), asyncio.timeout(30):
            claim.refusals = 1
            while claim.refusals:
                await asyncio.sleep(0.01)
            asked = claim.asked
            while claim.asked == asked:
                await asyncio.sleep(0.01)


class HostsWithoutDatabase:
    """Calls to agents, which go through the database."""

    async def children(self, node_id: str) -> Any:
        raise DatabaseUnavailable("it is away")

    read_log = children


async def test_a_failed_move_is_not_replaced_by_an_interruption() -> None:
    context: Any = SimpleNamespace(host=HostsWithoutDatabase())
    step: Any = Step()
    nodes = elsewhere(nowhere()), elsewhere(nowhere())
    with pytest.raises(MigrationFailed, match="refused"):
        async with watch_hazards(context, step, SlotRange(0, 1), nodes, access_with(RefusingClaim())):
            raise MigrationFailed(["the target refused"])
