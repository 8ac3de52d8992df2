"""What servers report of themselves, and which of them performed tasks when."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cachewright.model.servers import ServerRecord, Takeover, TakeoverCause
from cachewright.services.servers import SILENT_SECONDS, overview
from cachewright.store import server_claims, server_records
from cachewright.store.database import Database
from cachewright.store.server_claims import ServerClaim, cause
from database_fixtures import new_database


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = new_database(tmp_path)
    yield made
    made.close()


def server(server_id: str, **members: Any) -> ServerRecord:
    plain = {"machine": f"of {server_id}", "pid": 1, "release": "1", "listen": "l", "started_at": 1, "seen_at": 100}
    return ServerRecord(id=server_id, **plain | members)


def takeover(epoch: int, server_id: str, began_at: int, why: TakeoverCause = "silent") -> Takeover:
    return Takeover(epoch=epoch, server_id=server_id, machine="m", pid=1, cause=why, began_at=began_at)


def claim(server_id: str, *, is_released: bool = False) -> ServerClaim:
    return ServerClaim(epoch=1, server_id=server_id, session="s", machine="m", renewals=0, is_released=is_released)


def test_a_takeover_has_a_cause() -> None:
    assert cause(claim("", is_released=True), "a") == "first"
    assert cause(claim("b", is_released=True), "a") == "stopped"
    assert cause(claim("a", is_released=True), "a") == "stopped"
    assert cause(claim("a"), "a") == "restarted"
    assert cause(claim("b"), "a") == "silent"


def test_a_takeover_ends_the_one_before_with_the_latest_report_of_its_server(database: Database) -> None:
    with database.write() as connection:
        server_records.add_takeover(connection, takeover(1, "a", 10, "first"))
        server_records.saw(connection, server("a", epoch=1, seen_at=90))
        server_records.saw(connection, server("b"))
        server_records.add_takeover(connection, takeover(2, "b", 102))
        server_records.add_takeover(connection, takeover(2, "b", 999))
        server_records.saw(connection, server("b", epoch=2))
        newest, first = server_records.history(connection, 10)
        assert (newest.began_at, newest.ended_at, first.ended_at) == (102, None, 90)
        assert server_records.latest_by_cause(connection) == {"first": 10, "silent": 102}
        server_records.end(connection, 1, 95)
        server_records.end(connection, 2, 110)
        assert [each.ended_at for each in server_records.history(connection, 10)] == [110, 90]
        server_records.forget_takeovers(connection, 100)
        assert [each.epoch for each in server_records.history(connection, 10)] == [2]


def test_a_server_that_starts_again_without_the_claim_ends_its_former_time_with_it(database: Database) -> None:
    with database.write() as connection:
        server_records.add_takeover(connection, takeover(1, "a", 10, "first"))
        server_records.saw(connection, server("a", epoch=1, seen_at=90))
        server_records.saw(connection, server("a", pid=2, seen_at=200))
        (ended,) = server_records.history(connection, 10)
        (now,) = server_records.every(connection)
    assert (ended.ended_at, now.pid, now.seen_at) == (90, 2, 200)


def test_servers_that_do_not_report_are_silent_and_then_forgotten(database: Database) -> None:
    with database.write() as connection:
        now = server_records.now(connection)
        server_records.saw(connection, server("a", seen_at=now))
        server_records.saw(connection, server("b", seen_at=now - int(SILENT_SECONDS * 1000) - 1))
        assert {each.record.id: each.is_silent for each in overview(connection).servers} == {"a": False, "b": True}
        server_records.forget_silent(connection, now)
        assert [each.record.id for each in overview(connection).servers] == ["a"]


def test_the_server_whose_epoch_is_that_of_the_claim_performs_tasks(database: Database) -> None:
    with database.write() as connection:
        assert server_claims.take(connection, server_claims.get(connection), "a", "session", "m") == 1
        server_records.add_takeover(connection, takeover(1, "a", 10, "first"))
        server_records.saw(connection, server("a", epoch=1))
        server_records.saw(connection, server("b"))
        found = overview(connection)
        assert (found.epoch, [each.performs_tasks for each in found.servers]) == (1, [True, False])
        assert [each.performs_since for each in found.servers] == [10, None]
        assert server_claims.take(connection, server_claims.get(connection), "b", "other", "m") == 2
        assert [each.performs_tasks for each in overview(connection).servers] == [False, False], "b begins soon"
        server_claims.release(connection, 2, "other")
        server_records.saw(connection, server("b", epoch=2))
        assert [each.performs_tasks for each in overview(connection).servers] == [False, False]
