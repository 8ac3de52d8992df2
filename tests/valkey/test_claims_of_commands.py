"""Commands of a server that another one has replaced do not reach a node."""

from pathlib import Path

import msgspec
import pytest

from cachewright.errors import DatabaseUnavailable
from cachewright.valkey.access import Access
from cachewright.valkey.client import ask, connect
from cachewright.valkey.session import Session
from cachewright.valkey.single_request import request_once
from standalone_node import OPEN, started

SET = ("SET", "key", "value")


class Claim:
    is_lost = False

    def require(self) -> None:
        if self.is_lost:
            raise DatabaseUnavailable("replaced")


async def test_no_kind_of_connection_sends_a_command_without_the_claim(tmp_path: Path) -> None:
    claim = Claim()
    access: Access = msgspec.structs.replace(OPEN, require_claim=claim.require)
    async with started(tmp_path) as node, connect(node, access) as client:
        await ask(client, "PING")
        session = await Session.open(node, access, 5)
        claim.is_lost = True
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
