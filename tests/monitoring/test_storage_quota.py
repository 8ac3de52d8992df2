"""What leaves the storage when a project has more than its quota."""

from typing import Any

import pytest

from cachewright.model.backups import Backup
from cachewright.monitoring.storage_quota import backups_over, logs_over
from database_fixtures import a_backup
from write_log_fixtures import a_log


def test_the_oldest_ended_logs_of_the_project_go_first() -> None:
    newer = a_log(id="newer", ended="x", created_at=3, size=10)
    older = a_log(id="older", ended="x", created_at=2, size=10)
    growing = a_log(id="growing", created_at=1, size=10)
    other = a_log(id="other", project_id="q", ended="x", created_at=0, size=25)
    logs = [newer, growing, older, other]
    assert logs_over(logs, {}, 30, ()) == ([], [])
    assert logs_over(logs, {"p": 1}, 30, ()) == ([older], [])
    assert logs_over(logs, {"q": 6}, 30, ()) == ([other], [])
    assert logs_over(logs, {"p": 10, "q": 1}, 30, ()) == ([older], [])
    assert logs_over(logs, {"p": 20}, 30, ()) == ([older, newer], []), "one that grows fits"
    assert logs_over(logs, {"p": 31}, 30, ()) == ([older, newer], [growing])
    assert logs_over(logs, {"p": 31}, 30, {"i"}) == ([], []), "a task reads them"
    assert logs_over(logs, {"p": 31}, 0, ()) == ([], []), "no limit"


def test_of_logs_that_grow_the_largest_ends() -> None:
    small, large = a_log(id="small", size=3), a_log(id="large", size=9)
    assert logs_over([small, large], {}, 11, ()) == ([], [large])
    assert logs_over([small, large], {}, 12, ()) == ([], [])


def test_bytes_of_logs_that_are_being_deleted_do_not_count() -> None:
    going = a_log(id="going", ended="it has expired", size=100)
    assert logs_over([going, a_log(id="growing", size=10)], {}, 10, ()) == ([], [])


def backup(name: str, **members: Any) -> Backup:
    return a_backup(id=name, task_id=f"task of {name}", size=10, **members)


OLD, NEW = backup("old", taken_at=1), backup("new", taken_at=3)
MANUAL = backup("manual", taken_at=2, kind="manual")
ONLY = backup("only", instance_id="j", taken_at=0)


@pytest.mark.parametrize(
    ("quota", "used", "leaving"),
    [
        (40, (), []),
        (39, (), [OLD]),
        (1, (), [OLD]),
        (1, ("old",), []),
        (0, (), []),
    ],
    ids=["fits", "beyond", "far beyond", "read", "no limit"],
)
def test_scheduled_backups_leave_and_never_the_last_of_an_instance(
    quota: int, used: tuple[str, ...], leaving: list[Backup]
) -> None:
    assert backups_over([NEW, OLD, MANUAL, ONLY], quota, used) == leaving


def test_a_manual_backup_can_be_the_last_good_one() -> None:
    newest = backup("newest", taken_at=9, kind="manual")
    assert backups_over([OLD, NEW, newest], 10, ()) == [OLD, NEW]
