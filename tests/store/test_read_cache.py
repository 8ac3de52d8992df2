"""Answers are kept as long as nothing is committed, and not a moment longer."""

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from cachewright.errors import DatabaseUnavailable
from cachewright.store import read_cache as kept_module
from cachewright.store import throughput
from cachewright.store.database import Database
from cachewright.store.read_cache import ReadCache
from database_fixtures import migrated, new_database
from postgres_server import PostgresServer

WRITE = """
import sys, sqlalchemy as sa
with sa.create_engine(sys.argv[1]).begin() as connection:
    connection.execute(sa.text("UPDATE throughput SET samples = 77"))
"""


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = filled(migrated(database_url))
    yield opened
    opened.close()


def filled(database: Database) -> Database:
    with database.write() as connection:
        connection.execute(sa.text("INSERT INTO throughput VALUES ('a', 1.0, 1, NULL), ('b', 2.0, 2, 0.5)"))
    return database


class Counting:
    """A question that knows how often it was put."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self, connection: sa.Connection, action: str) -> int | None:
        self.times += 1
        asked = sa.text("SELECT samples FROM throughput WHERE action = :action")
        return connection.execute(asked, {"action": action}).scalar_one_or_none()


async def test_a_question_is_put_once_as_long_as_nothing_is_committed(database: Database) -> None:
    assert await asked(database, "a", "b", "a", "b", "c", "c") == ([1, 2, 1, 2, None, None], 3)


async def test_whatever_is_committed_is_seen_at_once(database: Database) -> None:
    kept, samples = ReadCache(database), Counting()
    for value in range(50):
        with database.write() as connection:
            connection.execute(sa.text("UPDATE throughput SET samples = :value"), {"value": value})
        await asyncio.sleep(0)  # as between a request that writes and the next one
        assert await kept.ask(samples, "a") == value
        assert await kept.ask(samples, "a") == value
    assert 50 <= samples.times < 100  # autovacuum may repeat some of the 50


async def test_what_is_committed_while_others_ask_is_seen_by_the_next(database: Database) -> None:
    kept, samples = ReadCache(database), Counting()

    async def poll() -> None:
        while True:
            await kept.ask(samples, "b")
            await asyncio.sleep(0)

    polling = [asyncio.create_task(poll()) for _ in range(8)]
    for value in range(50):
        await asyncio.to_thread(_write, database, value)
        await asyncio.sleep(0)
        assert await kept.ask(samples, "a") == value
    for task in polling:
        task.cancel()
    await asyncio.gather(*polling, return_exceptions=True)


async def test_what_another_process_commits_is_seen_at_once(database: Database) -> None:
    kept, samples = ReadCache(database), Counting()
    assert await kept.ask(samples, "a") == 1
    subprocess.run([sys.executable, "-c", WRITE, database.workflow_url], check=True)  # noqa: ASYNC221  # nothing else is to happen
    await asyncio.sleep(0)
    assert await kept.ask(samples, "a") == 77


class Overtaken:
    """A question during which another transaction changes what it has read."""

    def __init__(self, database: Database) -> None:
        self.samples = Counting()
        self._database = database

    def __call__(self, connection: sa.Connection) -> int | None:
        found = self.samples(connection, "a")
        with self._database.write() as other:
            throughput.learn(other, "other", 1.0)
            other.execute(sa.text("UPDATE throughput SET samples = samples + 1"))
        return found


async def test_an_answer_that_was_overtaken_by_a_change_is_not_kept(database: Database) -> None:
    kept, slowly = ReadCache(database), Overtaken(database)
    assert await kept.ask(slowly) == 1
    await asyncio.sleep(0)
    assert await kept.ask(slowly) == 2


async def test_who_asks_the_same_in_one_pass_of_the_loop_shares_the_answer(tmp_path: Path) -> None:
    database = filled(new_database(tmp_path))
    kept, slowly = ReadCache(database), Overtaken(database)
    first, second = await asyncio.gather(kept.ask(slowly), kept.ask(slowly))
    assert (first, second, slowly.samples.times) == (1, 1, 1)
    assert await kept.ask(slowly) == 2
    database.close()


async def test_a_question_that_fails_is_put_again(database: Database) -> None:
    kept = ReadCache(database)
    with pytest.raises(sa.exc.DBAPIError):
        await kept.ask(_of_no_table)
    with database.write() as connection:
        connection.execute(sa.text("CREATE TABLE missing AS SELECT 5 AS five"))
    assert await kept.ask(_of_no_table) == 5
    with database.write() as connection:
        connection.execute(sa.text("DROP TABLE missing"))
    await asyncio.sleep(0)
    for _ in range(2):
        with pytest.raises(sa.exc.DBAPIError):
            await kept.ask(_of_no_table)


async def test_reads_go_on_while_another_process_holds_the_database(tmp_path: Path) -> None:
    database = filled(new_database(tmp_path))
    kept, samples = ReadCache(database), Counting()
    with closing(sqlite3.connect(tmp_path / "test.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        other.execute("UPDATE throughput SET samples = 9")
        assert [await kept.ask(samples, name) for name in ("a", "b", "a")] == [1, 2, 1]
        assert samples.times == 2
        other.execute("COMMIT")
    await asyncio.sleep(0)
    assert await kept.ask(samples, "a") == 9
    database.close()


async def test_nothing_is_answered_from_memory_while_the_database_is_away(own_postgres: PostgresServer) -> None:
    database = filled(migrated(own_postgres.new_database()))
    kept, samples = ReadCache(database), Counting()
    assert await kept.ask(samples, "a") == 1
    own_postgres.stop()
    with pytest.raises(DatabaseUnavailable):
        await kept.ask(samples, "a")
    own_postgres.start()
    assert [await kept.ask(samples, name) for name in ("a", "a")] == [1, 1]
    assert samples.times >= 2  # autovacuum may repeat the last one
    database.close()


async def test_where_changes_cannot_be_told_nothing_is_kept(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unknown() -> None:
        return None

    kept, samples = ReadCache(database), Counting()
    monkeypatch.setattr(database, "change_counter", unknown)
    assert [await kept.ask(samples, "a") for _ in range(3)] == [1, 1, 1]
    assert samples.times == 3


async def test_so_many_answers_are_kept_and_no_more(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_module, "_MOST", 2)
    assert await asked(database, "a", "b", "c", "c", "b", "a") == ([1, 2, None, None, 2, 1], 4)


async def asked(database: Database, *names: str) -> tuple[list[int | None], int]:
    """The results, and how many questions a new cache put for them while nothing was committed."""
    for _ in range(20):
        before = await database.change_counter()
        kept, samples = ReadCache(database), Counting()
        results = [await kept.ask(samples, name) for name in names]
        if await database.change_counter() == before:
            return results, samples.times
    pytest.fail("the counter never stood still: other databases of the server, or its autovacuum, change it")


def _write(database: Database, value: int) -> None:
    with database.write() as connection:
        connection.execute(sa.text("UPDATE throughput SET samples = :value"), {"value": value})


def _of_no_table(connection: sa.Connection) -> int:
    return int(connection.execute(sa.text("SELECT five FROM missing")).scalar_one())
