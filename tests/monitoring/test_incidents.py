"""Incidents of faults that come and go."""

import asyncio
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from cachewright.heartbeats import LoopHeartbeats
from cachewright.monitoring.incidents import Incidents
from cachewright.store import incidents as store
from cachewright.store import instances
from cachewright.store.database import Database
from database_fixtures import an_instance, new_database


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with closing(new_database(tmp_path)) as made:
        yield made


async def test_a_fault_that_ends_before_it_is_stored_leaves_an_incident(database: Database) -> None:
    with database.write() as connection:
        instances.add(connection, an_instance())
    watched = Incidents(database, LoopHeartbeats())
    watched.report(an_instance().id, "foreign_member", "a stranger")
    watched.clear(an_instance().id, "foreign_member")
    watched.report("deleted", "foreign_member", "a stranger")
    watched.clear("deleted", "foreign_member")
    running = asyncio.create_task(watched.run())
    try:
        async with asyncio.timeout(30):
            while watched.kinds_of(an_instance().id) or watched.kinds_of("deleted") or watched.open_by_kind():
                await asyncio.sleep(0.01)
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
    assert watched.begun == {"foreign_member": 1}
    with database.read() as connection:
        assert not store.unended(connection)
