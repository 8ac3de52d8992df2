"""A real DBOS on a real database, polled so rarely that prompt starts prove a wake-up."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa
from dbos import DBOS

from cachewright.tasks import queue as module
from cachewright.tasks.queue import WakeableQueue

NAME = "test"
NEVER_SECONDS = 120.0
AT_ONCE_SECONDS = 60.0
"""Far less than the time to the next poll, and enough for a busy machine."""
QUIET_SECONDS = 1.5
"""Time after which an idle queue is polled rarely again."""

began: dict[str, float] = {}
released = threading.Event()
current: list[WakeableQueue] = []


@DBOS.workflow(name="test_queue_note")
async def note(argument: str) -> None:
    with current[-1].running():
        began[argument] = time.monotonic()
        while argument.startswith("hold") and not released.is_set():
            await asyncio.sleep(0.01)


@pytest.fixture
def queues(database_url: str) -> Iterator[Callable[..., WakeableQueue]]:
    began.clear()
    released.clear()

    def start(*, polling: bool = False) -> WakeableQueue:
        current.append(WakeableQueue(NAME, polling=polling))
        dbos = DBOS(config={"name": "test", "system_database_url": database_url, "application_version": "1"})
        if not current[-1].polling:
            DBOS.listen_queues([])
        DBOS.launch()
        current[-1].start(dbos)
        return current[-1]

    yield start
    released.set()
    _stop()


def _stop() -> None:
    current.pop().stop()
    DBOS.destroy(workflow_completion_timeout_sec=0)


def put(queue: WakeableQueue, argument: str, partition: str = "partition", delay_seconds: float | None = None) -> None:
    """Their ids are in the order they were put in line: DBOS tells the order within a second by nothing else."""
    queue.enqueue(f"{time.monotonic_ns()}", partition, note, argument, delay_seconds)


def until_begun(argument: str, within: float = AT_ONCE_SECONDS) -> float:
    deadline = time.monotonic() + within
    while argument not in began:
        assert time.monotonic() < deadline, f"{argument} has not begun within {within} s"
        time.sleep(0.005)
    return began[argument]


def polls_within(seconds: float) -> int:
    """Number of times that the queue's worker has read the queue from the database."""
    asked = []

    def see(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        if threading.current_thread().name == f"queue {NAME}" and "workflow_status" in statement:
            asked.append(statement)

    sa.event.listen(sa.Engine, "before_cursor_execute", see)
    try:
        time.sleep(seconds)
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", see)
    return len(asked)


@pytest.fixture
def never_polled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE_SECONDS", NEVER_SECONDS)


@pytest.mark.usefixtures("never_polled")
def test_what_is_put_in_line_begins_at_once(queues: Callable[..., WakeableQueue]) -> None:
    queue = queues()
    for argument in ("first", "second"):
        time.sleep(QUIET_SECONDS)
        put(queue, argument)
        until_begun(argument)


@pytest.mark.usefixtures("never_polled")
def test_the_next_in_line_begins_when_the_one_before_has_ended(queues: Callable[..., WakeableQueue]) -> None:
    queue = queues()
    for argument in ("hold", "next", "last"):
        put(queue, argument)
    put(queue, "elsewhere", partition="elsewhere")
    until_begun("hold")
    until_begun("elsewhere")
    time.sleep(QUIET_SECONDS)
    assert "next" not in began
    released.set()
    assert until_begun("next") < until_begun("last")


@pytest.mark.usefixtures("never_polled")
def test_what_the_last_process_left_in_line_begins_at_the_start(queues: Callable[..., WakeableQueue]) -> None:
    queue = queues()
    for argument in ("hold", "behind"):
        put(queue, argument)
    until_begun("hold")
    _stop()
    released.set()
    began.clear()
    queues()
    assert until_begun("hold") < until_begun("behind")


def test_a_queue_that_nothing_happens_to_is_polled_seldom(queues: Callable[..., WakeableQueue]) -> None:
    queue = queues()
    put(queue, "once")
    until_begun("once")
    time.sleep(QUIET_SECONDS)
    found = [polls_within(3.5) for _ in range(2)]
    assert 1 <= min(found) <= 4, "the first time, it may still note the end of the workflow"


def test_what_is_put_in_line_with_a_delay_begins_after_it(queues: Callable[..., WakeableQueue]) -> None:
    queue = queues()
    before = time.monotonic()
    put(queue, "later", delay_seconds=1)
    assert until_begun("later", within=60) - before > 0.9


def test_a_queue_stops_at_once(queues: Callable[..., WakeableQueue], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE_SECONDS", NEVER_SECONDS)
    queue = queues()
    time.sleep(QUIET_SECONDS)
    before = time.monotonic()
    queue.stop()
    assert time.monotonic() - before < AT_ONCE_SECONDS
    assert f"queue {NAME}" not in {thread.name for thread in threading.enumerate()}


@pytest.fixture
def without_private_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """A DBOS of a later version, without the function that this project runs of its inside."""
    monkeypatch.setattr(module, "version", lambda _: "3.5.0")
    monkeypatch.setattr(module.WakeableQueue, "_work", None)


@pytest.mark.parametrize("polling", [True, False])
@pytest.mark.usefixtures("without_private_worker")
def test_a_queue_that_dbos_polls_itself_runs_one_workflow_of_a_partition_at_a_time(
    queues: Callable[..., WakeableQueue], polling: bool
) -> None:
    queue = queues(polling=polling)
    assert queue.polling
    for argument in ("hold", "next"):
        put(queue, argument)
    put(queue, "elsewhere", partition="elsewhere")
    until_begun("hold")
    until_begun("elsewhere")
    assert "next" not in began
    _stop()
    released.set()
    began.clear()
    queues(polling=polling)
    assert until_begun("hold") < until_begun("next")


def test_a_queue_is_polled_where_it_is_chosen_or_the_version_is_not_tested(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not WakeableQueue(NAME).polling
    assert WakeableQueue(NAME, polling=True).polling
    monkeypatch.setattr(module, "version", lambda _: "3.5.0rc1")
    assert WakeableQueue(NAME).polling


@pytest.mark.parametrize(
    ("dbos_version", "tested"), [("3.4.0", True), ("3.4.12", True), ("3.5.0", False), ("4.0", False), ("10.1.2", False)]
)
def test_versions_up_to_the_tested_one_are_known(dbos_version: str, tested: bool) -> None:
    assert module.is_tested(dbos_version) is tested
