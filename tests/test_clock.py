"""Times of a task never decrease, for any changes of the system's clock."""

import time

import pytest

from cachewright.clock import now_ms, steady_from

HOUR_MS = 3_600_000


def test_it_starts_now_and_runs_on_while_the_system_clock_is_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    before = now_ms()
    clock = steady_from(0)
    first = clock()
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() - HOUR_MS * 1_000_000)
    assert before <= first <= clock()
    assert clock() - first < HOUR_MS / 2


def test_it_starts_no_earlier_than_what_is_on_record() -> None:
    recorded = now_ms() + HOUR_MS
    clock = steady_from(recorded)
    assert recorded <= clock() < recorded + HOUR_MS
