"""The table of error replies, against real nodes and the documentation."""

import asyncio
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from busy_nodes import SCRIPT
from cachewright.config import Settings
from cachewright.hosts.local import LocalHost
from cachewright.model.instances import Node
from cachewright.valkey.client import ANSWER_SECONDS, NODE_GONE, NodeBusy, NodeRefused, ask, connect, refusal
from cachewright.valkey.node_control import set_memory_limit
from cachewright.valkey.parameters import BY_NAME
from cachewright.valkey.replies import ERROR_REPLIES, OTHER, meaning_of, render
from cachewright.valkey.session import Session
from cachewright.valkey.single_request import request_once
from cachewright.valkey.topology import views
from standalone_node import OPEN, signed_in_with, started

PAGE = Path(__file__).parents[2] / "docs" / "node-replies.md"


def test_the_page_is_rendered_from_the_table() -> None:
    assert PAGE.read_text() == render()


@pytest.mark.parametrize("row", ERROR_REPLIES, ids=lambda row: row.prefix)
def test_a_reply_has_the_meaning_of_its_row(row: object) -> None:
    assert meaning_of(f"{row.prefix} and more") is row  # type: ignore[attr-defined]  # parametrize passes objects
    assert meaning_of(f"{row.prefix}KEY exists") is not row  # type: ignore[attr-defined]  # the same


@given(st.text())
def test_any_other_reply_is_a_refusal(text: str) -> None:
    row = meaning_of(text)
    assert row is OTHER or text.startswith(row.prefix)
    assert isinstance(refusal("n", text), NodeBusy) == (row.meaning == "wait")


def test_no_status_contains_what_ends_a_member_of_a_detail() -> None:
    for row in ERROR_REPLIES:
        assert not set(",{}") & set(NodeBusy("a" * 40, row, row.prefix).status)


def test_an_answer_is_waited_for_longer_than_a_script_can_be_silent() -> None:
    longest = int(BY_NAME["lua-time-limit"].range.partition("-")[2]) / 1000
    assert longest + 1 < ANSWER_SECONDS


async def test_every_kind_of_connection_tells_a_busy_node_from_a_dead_one(tmp_path: Path) -> None:
    async with started(tmp_path, "busy-reply-threshold 100", "cluster-enabled yes") as node:
        session = await Session.open(node, OPEN, 5)
        async with connect(node, OPEN, 300) as runner, connect(node, OPEN) as client:
            await client.ping()
            script = asyncio.create_task(ask(runner, "EVAL", SCRIPT, 0, 300))
            async with asyncio.timeout(60):
                while not await _busy(node):
                    await asyncio.sleep(0.02)
            for request in (
                client.ping(),
                request_once(node, OPEN, [("PING",)], 5),
                session.ask("PING"),
                views([node], OPEN, needed="all"),
                views([node], OPEN, needed="any"),
                set_memory_limit(node, OPEN, 10**9),
            ):
                with pytest.raises(NodeBusy) as caught:
                    await request
                assert caught.value.node_id == node.id
                assert caught.value.status == f"waiting for node {node.id}: a script runs (BUSY)"
            assert await views([node], OPEN) == {node.id: None}
            await client.script_kill()
            with pytest.raises(NodeRefused, match="killed"):
                await script
            assert await client.ping()
        session.close()


async def test_replies_that_the_library_takes_for_lost_connections_are_refusals(tmp_path: Path) -> None:
    async with started(tmp_path, 'requirepass "secret"') as node:
        with pytest.raises(NodeRefused, match="WRONGPASS"):
            async with connect(node, signed_in_with("another")) as client:
                await client.ping()
        async with connect(node, signed_in_with("secret")) as first:
            await first.config_set("maxclients", 1)
            with pytest.raises(NodeBusy, match="max number of clients"):
                async with connect(node, signed_in_with("secret")) as client:
                    await client.ping()
    with pytest.raises(NODE_GONE):
        async with connect(node, OPEN) as client:
            await client.ping()


async def test_a_node_that_loads_its_data_is_busy(tmp_path: Path) -> None:
    slow = ("appendonly yes", "key-load-delay 1000", "loading-process-events-interval-bytes 1024")
    async with started(tmp_path, *slow) as node:
        async with connect(node, OPEN) as client:
            for number in range(3000):
                await client.set(f"key:{number}", "x" * 100)
        host = LocalHost(Settings(data_dir=tmp_path))
        await host.restart(node.id, time.time() + 1, 60)
        async with asyncio.timeout(60):
            while not (busy := await _busy(node)):
                await asyncio.sleep(0.02)
            assert busy.status == f"waiting for node {node.id}: loads its data (LOADING)"
            while await _busy(node):
                await asyncio.sleep(0.1)


async def _busy(node: Node) -> NodeBusy | None:
    try:
        async with connect(node, OPEN) as client:
            await client.ping()
    except NodeBusy as busy:
        return busy
    except NODE_GONE:
        pass
    return None
