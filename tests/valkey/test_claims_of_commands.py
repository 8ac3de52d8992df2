"""Commands of a server that another one has replaced do not reach a node of another machine."""

import math
from pathlib import Path

import msgspec
import pytest

from cachewright.errors import DatabaseUnavailable
from cachewright.model.instances import Node
from cachewright.valkey.client import Valkey, ask, connect
from cachewright.valkey.last_writes import writes_paused
from cachewright.valkey.session import Session
from cachewright.valkey.single_request import fields, request_once
from claim_of_server import RefusingClaim, access_with, elsewhere
from standalone_node import OPEN, started

SET = ("SET", "key", "value")


async def test_no_kind_of_connection_sends_a_command_without_the_claim(tmp_path: Path) -> None:
    claim = RefusingClaim()
    access = access_with(claim)
    async with started(tmp_path) as local, connect(node := elsewhere(local), access) as client:
        await ask(client, "PING")
        session = await Session.open(node, access, 5)
        claim.refusals = math.inf
        with pytest.raises(DatabaseUnavailable):
            await ask(client, *SET)
        with pytest.raises(DatabaseUnavailable):
            await session.ask(*SET)
        with pytest.raises(DatabaseUnavailable):
            await session.ask_each([SET])
        with pytest.raises(DatabaseUnavailable):
            await request_once(node, access, [SET], 5)
        session.close()
        assert await request_once(node, OPEN, [("EXISTS", "key")], 5) == [0]
        assert await request_once(local, access, [("EXISTS", "key")], 5) == [0], "no other server reaches this node"


async def test_the_claim_is_checked_after_the_connection_is_made(tmp_path: Path) -> None:
    """A server that is replaced while it connects does not send the command."""
    async with started(tmp_path) as local:
        node, connected = elsewhere(local), Connected()
        access = msgspec.structs.replace(OPEN, require_claim=connected.require)
        async with connect(node, access) as client:
            connected.client = client
            with pytest.raises(DatabaseUnavailable, match="it is connected"):
                await ask(client, *SET)
        assert await request_once(node, OPEN, [("EXISTS", "key")], 5) == [0]


class Connected:
    """A claim that is lost as soon as the client is connected."""

    client: Valkey | None = None

    def require(self, *, ending: bool = False) -> None:
        if self.client is not None and self.client.connection is not None:
            raise DatabaseUnavailable("it is connected")


async def test_a_pause_of_writes_ends_also_without_the_claim(tmp_path: Path) -> None:
    claim = RefusingClaim()
    async with started(tmp_path) as node:
        async with writes_paused(elsewhere(node), access_with(claim)):
            assert await _pause_ms(node) > 0
            claim.refusals = math.inf
        assert await _pause_ms(node) == 0


async def _pause_ms(node: Node) -> int:
    (said,) = await request_once(node, OPEN, [("INFO", "clients")], 5)
    return int(fields(said)["paused_timeout_milliseconds"])
