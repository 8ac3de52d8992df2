"""Incidents of faults that come and go."""

import asyncio
import itertools
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


async def test_faults_of_many_instances_do_not_hold_the_writer_for_long(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    most, names = 3, [f"i{number}" for number in range(10)]
    monkeypatch.setattr("cachewright.monitoring.incidents._STORED_AT_ONCE", most)
    monkeypatch.setattr("cachewright.monitoring.incidents._SETTLE_SECONDS", 0.01)
    with database.write() as connection:
        for name in names:
            instances.add(connection, an_instance(id=name))
    watched = Incidents(database, LoopHeartbeats())
    for name in names:
        watched.report(name, "lost_data", "a host is lost")
    watched.clear(names[-1], "lost_data")
    steps = []

    def seen() -> tuple[int, int]:
        with database.read() as connection:
            in_error = [name for name in names if (found := instances.find(connection, name)) and found.error_code]
            return len(store.unended(connection)), len(in_error)

    running = asyncio.create_task(watched.run())
    try:
        async with asyncio.timeout(30):
            while watched.begun["lost_data"] < len(names) or watched.open_by_kind()["lost_data"] > len(names) - 1:
                steps.append(seen())
                await asyncio.sleep(0)
            for name in names:
                watched.clear(name, "lost_data")
            while watched.open_by_kind():
                steps.append(seen())
                await asyncio.sleep(0)
            while seen() != (0, 0):
                await asyncio.sleep(0)
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
    assert watched.begun == {"lost_data": len(names)}
    assert all(stored == in_error for stored, in_error in steps), "an instance has its status and its incident together"
    counts = [stored for stored, _ in steps]
    assert {later - before for before, later in itertools.pairwise(counts)} <= set(range(-most, most + 1))
