"""Following a task that a scripted cloud tells of."""

from datetime import UTC, datetime

import pytest

from cachewright.cli.demo import watch
from cachewright.cli.demo.cloud import TaskRow
from cachewright.cli.demo.prediction import Estimate
from cachewright.cli.demo.watch import TaskLost, follow, newest
from cachewright.client.progress import Progress

BEGIN = datetime(2026, 3, 1, 10, 0, 0, tzinfo=UTC)
END = datetime(2026, 3, 1, 10, 0, 9, tzinfo=UTC)

ESTIMATES = (Estimate(percent=25, at=BEGIN.timestamp() + 3, remaining=6.0),)


def row(status: str, task_id: str = "t1") -> TaskRow:
    ended = status in {"SUCCESS", "FAILED"}
    return TaskRow(id=task_id, name="EXTEND", status=status, created=BEGIN, updated=END if ended else None)


class Script:
    """Each look at the list moves on by one row; no row means an empty list."""

    def __init__(self, *rows: tuple[TaskRow | None, int]) -> None:
        self._rows = list(rows)
        self._percent = 0

    def tasks(self, instance_id: str) -> list[TaskRow]:
        now, self._percent = self._rows.pop(0) if len(self._rows) > 1 else self._rows[0]
        return [now] if now else []

    def progress(self, instance_id: str, task_id: str) -> Progress:
        return Progress(percent=self._percent, remaining=1)

    def estimates(self, instance_id: str, task_id: str) -> tuple[Estimate, ...]:
        return ESTIMATES


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "_EVERY_SECONDS", 0.001)
    monkeypatch.setattr(watch, "_APPEARS_WITHIN_SECONDS", 0.05)


@pytest.mark.parametrize("status", ["SUCCESS", "FAILED"])
def test_it_follows_to_the_end_whatever_that_is(status: str) -> None:
    shown: list[int] = []
    script = Script((row("WAITING"), 0), (row("EXECUTING"), 40), (row("EXECUTING"), 30), (row(status), 100))
    watched = follow(script, "i", "t1", lambda progress: shown.append(progress.percent))
    assert shown == [0, 40, 30, 100]
    assert watched.descents == [(40, 30)]
    assert (watched.succeeded, watched.seconds) == (status == "SUCCESS", 9.0)
    assert watched.estimates == ESTIMATES


def test_a_task_that_vanishes_is_lost() -> None:
    with pytest.raises(TaskLost, match="disappeared"):
        follow(Script((row("EXECUTING"), 1), (None, 0)), "i", "t1", lambda _: None)


def test_the_newest_is_the_one_that_was_not_known() -> None:
    script = Script((row("SUCCESS", "old"), 0), (row("WAITING", "new"), 0))
    assert newest(script, "i", frozenset({"old"})).id == "new"


def test_a_task_that_never_appears_is_lost() -> None:
    with pytest.raises(TaskLost, match="no task"):
        newest(Script((row("SUCCESS", "old"), 0)), "i", frozenset({"old"}))
