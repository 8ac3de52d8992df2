"""The ends of calls to agents: many waiting calls are one query."""

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

from cachewright.errors import DatabaseUnavailable
from cachewright.hosts.call_ends import CallEnds


class Schemas:
    """Takes the place of DBOS's clients.

    :ivar queries: schemas and ids of each query.
    :ivar ended: ids of the calls that have ended.
    """

    def __init__(self) -> None:
        self.queries: list[tuple[str, set[str]]] = []
        self.ended: set[str] = set()
        self.failure: Exception | None = None

    def client(self, schema: str) -> Any:
        def list_workflows(*, workflow_ids: Sequence[str], **_: Any) -> list[Any]:
            self.queries.append((schema, set(workflow_ids)))
            if self.failure:
                raise self.failure
            return [SimpleNamespace(workflow_id=one) for one in workflow_ids if one in self.ended]

        return SimpleNamespace(list_workflows=list_workflows)


async def queries_after(schemas: Schemas, number: int) -> None:
    before = len(schemas.queries)
    async with asyncio.timeout(30):
        while len(schemas.queries) < before + number:
            await asyncio.sleep(0.01)


async def test_one_query_finds_the_ends_of_all_calls_of_a_host() -> None:
    schemas = Schemas()
    ends = CallEnds(schemas.client)
    here = [asyncio.wrap_future(ends.expect("h2", f"a{number}")) for number in range(100)]
    there = asyncio.wrap_future(ends.expect("h3", "b"))
    await queries_after(schemas, 4)
    assert {schema: len(ids) for schema, ids in schemas.queries[-2:]} == {"h2": 100, "h3": 1}
    schemas.ended = {"a7", "b"}
    async with asyncio.timeout(30):
        await asyncio.gather(here[7], there)
    here[8].cancel()
    await queries_after(schemas, 2)
    assert schemas.queries[-1] == ("h2", {f"a{number}" for number in range(100)} - {"a7", "a8"})
    schemas.ended |= schemas.queries[-1][1]
    async with asyncio.timeout(30):
        await asyncio.gather(*here[:8], *here[9:])
    asked = len(schemas.queries)
    await asyncio.sleep(0.2)
    assert len(schemas.queries) == asked, "no call waits"
    schemas.ended = {"c"}
    async with asyncio.timeout(30):
        await asyncio.wrap_future(ends.expect("h2", "c"))


async def test_all_waiting_calls_learn_that_the_database_is_away() -> None:
    schemas = Schemas()
    ends = CallEnds(schemas.client)
    schemas.failure = psycopg.OperationalError("connection refused")
    waiting = [asyncio.wrap_future(ends.expect("h2", name)) for name in ("a", "b")]
    async with asyncio.timeout(30):
        found = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(one) for one in found] == [DatabaseUnavailable, DatabaseUnavailable]
    schemas.failure, schemas.ended = None, {"a"}
    async with asyncio.timeout(30):
        await asyncio.wrap_future(ends.expect("h2", "a"))


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_call_is_found_whether_it_ends_before_or_after_it_is_expected(moment: str) -> None:
    schemas = Schemas()
    ends = CallEnds(schemas.client)
    schemas.ended = {"a"} if moment == "before" else set()
    waiting = asyncio.wrap_future(ends.expect("h2", "a"))
    if moment == "after":
        await queries_after(schemas, 1)
        schemas.ended = {"a"}
    async with asyncio.timeout(30):
        await waiting
