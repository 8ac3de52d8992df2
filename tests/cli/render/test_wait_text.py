"""What commands say of waits and of the remaining time."""

import io
from datetime import UTC, datetime

import msgspec
import pytest
from rich.console import Console

from cachewright.cli.remote.watching import read_progress, read_record
from cachewright.cli.render.changes import changes
from cachewright.cli.render.tree import Pen, tree
from cachewright.cli.render.waits import ago, clock_time, left, wait_text
from cachewright.client.progress import Progress, Wait, read_waits
from progress_samples import halfway

SINCE = datetime(2026, 3, 1, 10, 0, 0, tzinfo=UTC)
NOW = datetime(2026, 3, 1, 10, 0, 41, tzinfo=UTC)
CEILING = "the latency ceiling"
EVENT = {
    "progress": 47,
    "remain_time": 12,
    "step_details": [],
    "heartbeat": "2026-03-01T09:59:59.000Z",
    "waiting": [
        {"since": "2026-03-01T10:00:05.000Z", "cause": "paused", "sub_step": "a"},
        {"since": "2026-03-01T10:00:00.000Z", "cause": "paused", "sub_step": "b"},
    ],
    "remain_seconds": 11.6,
    "remain_low": 9.2,
    "remain_high": 17.8,
}


def test_a_pause_and_another_wait_are_told_with_their_begin() -> None:
    since = clock_time(SINCE)
    assert wait_text(Wait(SINCE, "paused")) == f"paused since {since}"
    assert wait_text(Wait(SINCE, "paused"), NOW) == f"paused since {since} (41 s)"
    assert wait_text(Wait(SINCE, CEILING), NOW) == f"waiting since {since} (41 s): {CEILING}"
    assert wait_text(Wait(None, CEILING), NOW) == f"waiting: {CEILING}"


@pytest.mark.parametrize(
    ("end", "text"),
    [
        (datetime(2026, 3, 1, 10, 2, 5, tzinfo=UTC), "2 min 05 s"),
        (datetime(2026, 3, 3, 9, 30, 0, tzinfo=UTC), "47 h 30 min"),
        (datetime(2026, 3, 1, 9, 0, 0, tzinfo=UTC), "0 s"),
    ],
)
def test_long_waits_are_short_texts(end: datetime, text: str) -> None:
    assert ago(SINCE, end) == f"{clock_time(SINCE)}, {text} ago"


def test_the_interval_stands_beside_the_remaining_time() -> None:
    assert left(halfway()) == "6 s left"
    assert left(read_progress(EVENT)) == "12 s left, 9 to 18 s"
    assert left(read_progress(EVENT | {"remain_low": 0.0, "remain_high": 0.0})) == "12 s left"
    assert left(Progress(percent=0, remaining=None)) == ""
    assert left(Progress(percent=100, remaining=0, low=0.0, high=0.0)) == ""


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (0.1, 0.4, "1 s left"),
        (0.1, 1.4, "1 s left"),
        (0.1, 2.6, "1 s left, 1 to 3 s"),
        (1.6, 5.0, "1 s left, 1 to 5 s"),
    ],
)
def test_the_interval_includes_an_estimate_of_at_least_a_second(low: float, high: float, text: str) -> None:
    assert left(Progress(percent=98, remaining=1, low=low, high=high)) == text


def test_an_effort_that_differs_from_the_plan_is_shown() -> None:
    assert left(read_progress(EVENT | {"effort": 0.7})) == "12 s left, 9 to 18 s; 30 % less work than planned"
    assert left(read_progress(EVENT | {"effort": 1.25})) == "12 s left, 9 to 18 s; 25 % more work than planned"
    assert left(read_progress(EVENT | {"effort": 1.05})) == "12 s left, 9 to 18 s"


def test_of_several_sub_steps_that_wait_for_the_same_the_first_one_is_told() -> None:
    assert read_waits(EVENT["waiting"]) == (Wait(SINCE, "paused"),)  # type: ignore[arg-type]  # a list of mappings
    assert read_waits([]) == ()


def test_records_and_events_of_other_servers_are_read() -> None:
    bare = {"progress": 1, "remain_time": 2, "step_details": []}
    assert read_progress(bare) == Progress(percent=1, remaining=2)
    record = {name: value for name, value in EVENT.items() if name not in bare} | {"progress": bare}
    assert read_record(record).waits == (Wait(SINCE, "paused"),)
    assert read_record(record).percent == 1


def test_the_tree_shows_waits_below_its_head() -> None:
    progress = msgspec.structs.replace(halfway(), low=4.0, high=9.0, waits=(Wait(SINCE, CEILING),))
    file = io.StringIO()
    Console(file=file, width=160).print(tree(Pen(now=NOW, width=160), "Scale", progress))
    lines = file.getvalue().splitlines()
    assert "47 %  6 s left, 4 to 9 s" in lines[0]
    assert f"waiting since {clock_time(SINCE)} (41 s): {CEILING}" in lines[1]
    assert len(lines) == 8


def test_a_wait_is_told_once_as_a_change() -> None:
    waiting = msgspec.structs.replace(halfway(), waits=(Wait(SINCE, CEILING),))
    text = f"waiting since {clock_time(SINCE)}: {CEILING}"
    assert changes(halfway(), waiting) == [text]
    assert changes(waiting, waiting) == []
    assert text in changes(None, waiting)
