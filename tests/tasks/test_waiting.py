"""Waits of a task for a temporary state: the status in the detail, and the repetition of the attempt."""

import asyncio
import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachewright.client.progress import SubStep, parse_detail
from cachewright.errors import DatabaseUnavailable
from cachewright.tasks import waiter
from cachewright.tasks.attempt import run_attempt
from cachewright.tasks.operation import ActionFailed, Policy
from cachewright.tasks.waiter import Waiter
from cachewright.tasks.waiting import Postponed, ShowWait, with_status, without_status

MEMBER = st.from_regex(r"[a-z_]{1,10}:[a-z0-9 /\[\]]{0,20}", fullmatch=True).filter(
    lambda member: not member.startswith("status:")
)
DETAIL = st.lists(MEMBER, max_size=5).map(lambda members: f"{{{','.join(members)}}}" if members else "")
STATUS = st.from_regex(r"[a-zA-Z0-9 :()%.-]{1,60}", fullmatch=True)

RANGE = "{node_id:ab,slot_range:[0 5460],full_migration:to start,inc_migration:to start,keys:0/10,bytes:0}"


@given(DETAIL, STATUS, STATUS)
def test_a_status_is_the_last_member_and_leaves_the_others_as_they_are(detail: str, first: str, second: str) -> None:
    shown = with_status(detail, first)
    assert shown.startswith("{")
    assert shown.endswith(f"status:{first}}}")
    assert without_status(shown) == detail
    assert with_status(shown, second) == with_status(detail, second)
    assert with_status(shown, "") == detail


def test_a_status_can_be_parsed_and_shown() -> None:
    status = "waiting for node ab: a script runs (BUSY)"
    migration = parse_detail(with_status(RANGE, status))
    assert migration is not None
    assert migration.status == status
    assert str(migration).endswith(f"0.0 MB; {status}")
    assert str(parse_detail(RANGE)).endswith("0.0 MB")
    check = SubStep(name="Instance status check.", status="EXECUTING", detail=with_status("", status))
    assert check.state == status


class Uninterrupted:
    """Interruption that a test begins by hand."""

    def __init__(self) -> None:
        self.error: Exception | None = None

    def reason(self) -> Exception | None:
        return self.error

    async def limit(self, policy: Policy, act: object) -> object:
        return await act  # type: ignore[misc]  # always an awaitable


def shown_in(shown: list[str]) -> ShowWait:
    return lambda status, seconds: shown.append(status)


async def test_a_postponed_attempt_is_repeated_without_using_up_time_and_is_shown(
    caplog: pytest.LogCaptureFixture,
) -> None:
    shown: list[str] = []
    polls, attempts = 0, 0

    async def is_over() -> bool:
        nonlocal polls
        polls += 1
        return polls > 5

    async def act() -> str:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            raise Postponed("waiting for node ab: a script runs (BUSY)", is_over)
        return "done"

    waits = Waiter("task t", shown_in(shown), Uninterrupted())  # type: ignore[arg-type]  # has its methods
    assert await run_attempt(Policy(timeout=0.5), waits, act) == "done"
    assert attempts == 2
    assert shown[0] == "waiting for node ab: a script runs (BUSY)"
    assert shown[-1] == ""
    messages = [record.getMessage() for record in caplog.records]
    assert messages[0] == "task t: waiting for node ab: a script runs (BUSY)"
    assert messages[-1].startswith("task t: continued after ")
    assert len(messages) == 2


async def test_a_short_wait_is_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    attempts = 0

    async def is_over() -> bool:
        return True

    async def act() -> int:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            raise Postponed("waiting", is_over)
        return attempts

    shown: list[str] = []
    waits = Waiter("task t", shown_in(shown), Uninterrupted())  # type: ignore[arg-type]  # has its methods
    assert await run_attempt(Policy(timeout=0.5), waits, act) == 2
    assert not any(shown)
    assert not caplog.records


async def test_an_attempt_that_is_refused_again_and_again_is_shown_and_repeated_less_often(
    caplog: pytest.LogCaptureFixture,
) -> None:
    status = "waiting for node ab: too few replicas (NOREPLICAS)"
    shown: list[str] = []
    begun: list[float] = []

    async def is_over() -> bool:
        return True

    async def act() -> str:
        begun.append(time.monotonic())
        if len(begun) < 5:
            raise Postponed(status, is_over)
        return "done"

    waits = Waiter("task t", shown_in(shown), Uninterrupted())  # type: ignore[arg-type]  # has its methods
    assert await run_attempt(Policy(timeout=0.5), waits, act) == "done"
    pauses = [later - earlier for earlier, later in pairwise(begun)]
    assert all(pause >= 0.25 * 2**number for number, pause in enumerate(pauses))
    assert status in shown
    assert shown[-1] == ""
    messages = [record.getMessage() for record in caplog.records]
    assert messages[0] == f"task t: {status}"
    assert messages[-1].startswith("task t: continued after ")
    assert len(messages) == 2


async def test_a_wait_outlasts_an_unavailable_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiter, "DATABASE_SECONDS", 0.0)
    answers = iter([DatabaseUnavailable("it restarts"), True])
    attempts = 0

    async def is_over() -> bool:
        answer = next(answers)
        if isinstance(answer, DatabaseUnavailable):
            raise answer
        return answer

    async def act() -> int:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            raise Postponed("waiting", is_over)
        return attempts

    waits = Waiter("task t", lambda *_: None, Uninterrupted())  # type: ignore[arg-type]  # has its methods
    assert await run_attempt(Policy(timeout=0.5), waits, act) == 2


async def test_a_wait_ends_when_the_task_is_cancelled() -> None:
    async def is_over() -> bool:
        return False

    async def act() -> None:
        raise Postponed("waiting", is_over)

    interruption = Uninterrupted()
    waits = Waiter("task t", lambda *_: None, interruption)  # type: ignore[arg-type]  # has its methods
    running = asyncio.create_task(run_attempt(Policy(timeout=0.5), waits, act))
    await asyncio.sleep(0.7)
    assert not running.done()
    interruption.error = ActionFailed("DCS.9005", "cancelled", True)
    with pytest.raises(ActionFailed, match="cancelled"):
        await running
