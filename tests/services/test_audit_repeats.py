"""Entries of calls that are refused over and over are counted in one row."""

from collections.abc import Iterator

import pytest

from cachewright.model.audit import AuditEntry
from cachewright.services.audit_repeats import AuditRepeats
from cachewright.store import audit
from cachewright.store.database import Database
from database_fixtures import migrated


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    made = migrated(database_url)
    yield made
    made.close()


def entry(request_id: str) -> AuditEntry:
    return AuditEntry(
        at=1,
        request_id=request_id,
        project_id="p",
        user_id="u",
        user_name="alice",
        credential="key x",
        source="192.0.2.1",
        action="dcs:instance:delete",
        method="DELETE",
        path="/",
        status=403,
        error_code="DCS.2007",
    )


def stored(database: Database) -> list[tuple[str, int]]:
    with database.read() as connection:
        return [(one.request_id, one.count) for one in audit.page(connection, "p", offset=0, limit=10)[1]][::-1]


def test_repetitions_within_the_window_are_one_row(database: Database) -> None:
    clock = Clock()
    repeats = AuditRepeats(60, clock)
    for at, key in ((0, "a"), (59, "a"), (59, "b"), (60, "a"), (61, "a")):
        clock.now = at
        with database.write() as connection:
            repeats.add(connection, (key,), [entry(f"{key}{at}")])
    assert stored(database) == [("a0", 2), ("b59", 1), ("a60", 2)]


def test_the_first_few_may_have_rows_of_their_own(database: Database) -> None:
    repeats = AuditRepeats(60)
    for number in range(5):
        with database.write() as connection:
            repeats.add(connection, ("a",), [entry(str(number))], singly=3)
    assert stored(database) == [("0", 1), ("1", 1), ("2", 3)]


def test_what_was_rolled_back_is_stored_again_and_never_counted_elsewhere(database: Database) -> None:
    repeats = AuditRepeats(60)

    def broken() -> None:
        with database.write() as connection:
            repeats.add(connection, ("a",), [entry("lost")])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        broken()
    with database.write() as connection:
        audit.add(connection, entry("other"))  # takes the number of the lost one
    for number in range(2):
        with database.write() as connection:
            repeats.add(connection, ("a",), [entry(str(number))])
    assert stored(database) == [("other", 1), ("0", 2)]


def test_a_change_is_committed_with_its_entry_or_not_at_all(database: Database) -> None:
    pending = audit.PendingEntry(entry("change"))
    before = audit.PENDING.set(pending)
    try:
        with pytest.raises(ZeroDivisionError), database.write():
            raise ZeroDivisionError
        assert (pending.sequence, stored(database)) == (None, [])
        for _ in range(2):
            with database.write():
                pass
        assert stored(database) == [("change", 1)]
        pending.close()
        pending.sequence = None
        with database.write():
            pass
        assert stored(database) == [("change", 1)]
    finally:
        audit.PENDING.reset(before)
