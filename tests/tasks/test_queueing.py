"""Remaining time of a task that waits behind others."""

from itertools import pairwise

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from cachewright.model.tasks import Task
from cachewright.tasks.queueing import before, with_queue
from database_fixtures import a_task


def waiting(name: str, seconds: float = 3.0, enqueued: int | None = 1, **members: object) -> Task:
    spread = {"remaining_low": seconds / 2, "remaining_high": seconds * 2}
    return a_task(id=name, remaining_seconds=seconds, estimated_at=enqueued, **spread | members)


def running(name: str, seconds: float, **members: object) -> Task:
    return waiting(name, seconds, status="EXECUTING", **members)


queues = st.lists(st.floats(0, 1e6), min_size=1, max_size=6).map(
    lambda seconds: [waiting(str(place), left, enqueued=place) for place, left in enumerate(seconds)]
)


def test_what_remains_of_the_tasks_before_it_is_added() -> None:
    queue = [running("a", 40.0), waiting("b", 9.0), waiting("c", 3.0)]
    assert with_queue(queue[1], queue).remaining_seconds == 49
    last = with_queue(queue[2], queue)
    assert (last.remaining_low, last.remaining_seconds, last.remaining_high) == (26, 52, 104)


def test_a_task_that_waits_alone_shows_its_own() -> None:
    task = waiting("a", 9.0)
    assert with_queue(task, [task]) == task


def test_the_shown_time_falls_while_the_task_before_it_makes_progress() -> None:
    task = waiting("b", 9.0)
    seen = [with_queue(task, [running("a", left), task]).remaining_seconds for left in (9.0, 6.5, 0.1)]
    assert seen == [18.0, 15.5, 9.1]


def test_a_retried_task_stands_behind_those_that_waited_when_it_was_retried() -> None:
    retried = waiting("old", 5.0, enqueued=20, created_at=1, attempt=1)
    queue = [retried, running("a", 8.0, created_at=10), waiting("b", 2.0, enqueued=15), waiting("c", 1.0, enqueued=25)]
    assert [task.id for task in before(retried, queue)] == ["a", "b"]
    assert with_queue(retried, queue).remaining_seconds == 15
    assert [task.id for task in before(queue[3], queue)] == ["a", "b", "old"]


def test_tasks_of_earlier_releases_stand_where_they_were_created() -> None:
    queue = [waiting(name, enqueued=None, created_at=at) for name, at in (("a", 5), ("b", 7))]
    assert [task.id for task in before(queue[1], queue)] == ["a"]
    assert not before(queue[0], queue)


def test_a_cancelled_task_before_it_ends_within_seconds() -> None:
    queue = [running("a", 600.0), waiting("b", 1.0)]
    assert with_queue(queue[1], queue, {"a"}).remaining_high < 10
    assert with_queue(queue[1], queue).remaining_seconds == 601


@given(queues)
def test_each_task_ends_after_those_before_it(queue: list[Task]) -> None:
    shown = [with_queue(task, queue) for task in queue]
    for one, following in pairwise(shown):
        assert following.remaining_seconds >= one.remaining_seconds
    for task in shown:
        assert 0 <= task.remaining_low <= task.remaining_seconds * 1.000001
        assert task.remaining_seconds <= task.remaining_high * 1.000001


@given(queues, st.data())
def test_only_the_shown_time_depends_on_the_queue(queue: list[Task], data: st.DataObject) -> None:
    task = data.draw(st.sampled_from(queue))
    shown = with_queue(task, queue)
    times = ("remaining_seconds", "remaining_low", "remaining_high")
    assert msgspec.structs.replace(shown, **{name: getattr(task, name) for name in times}) == task


def test_a_task_that_waits_for_a_window_begins_then_or_after_those_that_wait_now() -> None:
    scheduled = waiting("a", 9.0, begins_at=100_000)
    queue = [scheduled, running("b", 20.0), waiting("c", 3.0)]
    assert with_queue(scheduled, queue, now=40_000).remaining_seconds == 69
    assert with_queue(scheduled, queue, now=90_000).remaining_seconds == 32
    assert with_queue(scheduled, queue, now=200_000).remaining_seconds == 32
    assert with_queue(queue[2], queue).remaining_seconds == 23, "it is not before another task"
