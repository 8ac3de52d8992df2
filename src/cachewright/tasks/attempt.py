"""One attempt of a plan, a sub-step or a recovery, and what DBOS does after a failed one."""

import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from dbos import StepOptions

from cachewright import errors
from cachewright.errors import DatabaseUnavailable
from cachewright.store.tasks import StaleTask
from cachewright.tasks.interruption import Interruption, RetryDelay
from cachewright.tasks.operation import ActionFailed, Policy
from cachewright.tasks.waiter import Waiter
from cachewright.tasks.waiting import Postponed, ShowWait

log = logging.getLogger(__name__)

Result = TypeVar("Result")


async def run_attempt(policy: Policy, waiter: Waiter, act: Callable[[], Awaitable[Result]]) -> Result:
    """Run one attempt, unless it is interrupted. Repeat it when it was postponed, and while the database is
    unavailable. Neither is a failure of the attempt; actions can run twice."""

    while True:
        try:
            with _unexpected_errors_logged():
                result = await waiter.interruption.limit(policy, act())
            waiter.ended()
            return result
        except Postponed as postponed:
            await waiter.wait(postponed)
        except DatabaseUnavailable as error:
            await waiter.wait_for_database(error)


@contextmanager
def _unexpected_errors_logged() -> Iterator[None]:
    """Turn unexpected errors of an operation into failures with an error code, and log their tracebacks."""
    try:
        yield
    except (ActionFailed, Postponed, StaleTask, DatabaseUnavailable):
        raise
    except TimeoutError as error:
        raise ActionFailed(errors.SUB_STEP_TIMEOUT, "it did not end within its time limit") from error
    except Exception as error:
        log.exception("unexpected error in a task")
        raise ActionFailed(errors.UNEXPECTED_TASK_ERROR, f"{type(error).__name__}: {error}") from error


def step_options(
    name: str, policy: Policy, interruption: Interruption, show: ShowWait = lambda status, seconds: None
) -> StepOptions:
    """Return how DBOS repeats a step. DBOS itself does not wait between attempts, because its pause would not end when
    the task is cancelled. `show` shows these pauses."""
    return {
        "name": name,
        "retries_allowed": policy.attempts > 1,
        "max_attempts": policy.attempts,
        "interval_seconds": 0.0,
        "should_retry": RetryDelay(policy, interruption, show).is_retried,
    }
