"""Speeds that finished tasks teach."""

import math
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachewright.model.tasks import Step, SubStep, Task, Work
from cachewright.store import throughput
from cachewright.tasks.learning import Speed, expected, learn, load, updated, with_speeds
from cachewright.tasks.progress import planned_seconds
from database_fixtures import a_task, new_database


def plan(seconds: float, rate: str = "") -> tuple[Step, ...]:
    work = Work(unit="bytes", total=100.0, seconds=seconds, lane="a", rate=rate)
    sub_step = SubStep(id="1", name="move", action="move", arguments={}, work=work)
    return (Step(id="s", name="step", sub_steps=(sub_step,)),)


def finished(steps: tuple[Step, ...], took_ms: int, **state: object) -> Task:
    (step,) = steps
    (sub_step,) = step.sub_steps
    ended = {"status": "FINISH", "begin_time": 1_000, "end_time": 1_000 + took_ms, "done": 100.0} | state
    done = msgspec.structs.replace(sub_step, **ended)
    whole = msgspec.structs.replace(step, status="FINISH", sub_steps=(done,))
    return msgspec.structs.replace(a_task(), steps=(whole,), status="SUCCESS", end_time=1_000 + took_ms)


@given(slow=st.floats(0.3, 3.5), seconds=st.floats(6, 100))
def test_a_long_task_teaches_what_would_have_foretold_it(slow: float, seconds: float) -> None:
    speed = updated(None, 1 / slow, seconds * slow)
    expected = planned_seconds(with_speeds(plan(seconds), {"move": speed}))
    assert expected == pytest.approx(seconds * slow, rel=0.6)
    assert abs(expected - seconds * slow) <= abs(seconds - seconds * slow) + 1e-9


def test_a_short_first_measurement_changes_what_the_plan_expected_by_half() -> None:
    speed = updated(None, 0.64, 1.0, expected=1.0)
    assert speed.value == pytest.approx(0.8)
    assert updated(None, 0.5, 1.0, expected=0.5).value == pytest.approx(0.5)
    assert updated(Speed(0.64), 1.0, 1.0, 1.0, expected=5.0).value == pytest.approx(0.8)


@given(observed=st.lists(st.floats(0.92, 1.08), min_size=8, max_size=8))
def test_steady_tasks_make_the_plan_trustworthy(observed: list[float]) -> None:
    speed: Speed | None = None
    for one in observed:
        speed = updated(speed, 3 * one, 10)
    assert speed is not None
    assert speed.value == pytest.approx(3, rel=0.11)
    assert speed.deviation <= math.log(1.08 / 0.92)
    assert speed.evidence > 1.5 * Speed().evidence


def test_one_odd_task_does_not_spoil_a_rate() -> None:
    """Jobs that nobody followed are over at once."""
    spoiled = updated(Speed(1.0, 0.1), 1000.0, 10)
    assert spoiled.value <= 2.0


def test_tasks_that_differ_do_not() -> None:
    speed: Speed | None = None
    for one in (1.0, 3.0, 1.0, 3.0, 1.0, 3.0):
        speed = updated(speed, one, 10)
    assert speed is not None
    assert speed.deviation > 0.5


def test_rates_are_learned_apart_and_waits_teach_nothing(tmp_path: Path) -> None:
    with closing(new_database(tmp_path)) as database:
        with database.write() as connection:
            learn(connection, finished(plan(50.0, "one"), 100_000))
            learn(connection, finished(plan(50.0, "other"), 60_000, waited_ms=10_000))
        with database.read() as connection:
            one, other = (load(connection, plan(1.0, rate), "other instance")[rate] for rate in ("one", "other"))
        assert one.value == pytest.approx(0.5, rel=0.05)
        assert other.value == pytest.approx(1.0, rel=0.05)


def test_work_that_was_never_measured_has_the_speed_of_its_action(tmp_path: Path) -> None:
    with closing(new_database(tmp_path)) as database:
        with database.write() as connection:
            learn(connection, finished(plan(100.0, "move: copy"), 200_000))
            learn(connection, finished(plan(100.0, "move: delete"), 400_000))
            learn(connection, finished(plan(100.0, "stop: all"), 10_000))
        with database.read() as connection:
            rates = "move: other", "move: delete", "move", "mov: other"
            speeds = [load(connection, plan(1.0, rate), "other instance").get(rate) for rate in rates]
    assert [speed and speed.value for speed in speeds] == [
        pytest.approx(math.sqrt(0.5 * 0.25), rel=0.05),
        pytest.approx(0.25, rel=0.05),
        None,
        None,
    ]


def test_other_work_of_an_instance_differs_from_the_installation_as_its_measured_work_does(tmp_path: Path) -> None:
    with closing(new_database(tmp_path)) as database:
        with database.write() as connection:
            for rate, took_ms in (("move: out", 10_000), ("move: in", 5_000), ("stop: all", 1_000)):
                learn(connection, finished(plan(10.0, rate), took_ms))
            learn(connection, msgspec.structs.replace(finished(plan(10.0, "move: out"), 2_500), instance_id="quick"))
        with database.read() as connection:
            rates = "move: out", "move: in", "stop: all", "move: new"
            quick = {rate: load(connection, plan(1.0, rate), "quick")[rate].value for rate in rates}
            other = {rate: load(connection, plan(1.0, rate), "other")[rate].value for rate in rates}
    ratio = quick["move: out"] / other["move: out"]
    assert ratio > 1.5
    assert quick["move: in"] == pytest.approx(other["move: in"] * ratio)
    assert quick["stop: all"] == other["stop: all"]
    assert quick["move: new"] > other["move: new"]


def test_work_of_the_same_name_up_to_a_comma_is_the_most_similar() -> None:
    shared = {"move: small, new target": Speed(2.0), "move: large": Speed(8.0), "stop: all": Speed(32.0)}
    own = {"move: small, new target": Speed(1.0), "move: large": Speed(16.0)}

    def value(rate: str, own: Mapping[str, Speed]) -> float | None:
        speed = expected(rate, own, shared)
        return speed.value if speed else None

    assert value("move: small", {}) == pytest.approx(2.0)
    assert value("move: small", own) == pytest.approx(1.0)
    assert value("move: large, new target", own) == pytest.approx(16.0)
    assert value("move: other", {}) == pytest.approx(4.0)
    assert value("move: other", own) == pytest.approx(4.0)
    assert value("move", own) is None
    assert value("stop", own) is None


def test_equal_tasks_of_one_instance_do_not_make_the_plan_of_another_trustworthy(tmp_path: Path) -> None:
    with closing(new_database(tmp_path)) as database:
        with database.write() as connection:
            for _ in range(10):
                learn(connection, finished(plan(10.0), 10_000))
        with database.read() as connection:
            own, other = (load(connection, plan(1.0), name)["move"] for name in (a_task().instance_id, "other"))
        assert other.deviation**2 > 5 * own.deviation**2
        assert own.evidence > 3 * other.evidence
        with database.write() as connection:
            for number in range(10):
                learn(connection, msgspec.structs.replace(finished(plan(10.0), 10_000), instance_id=str(number)))
        with database.read() as connection:
            later = load(connection, plan(1.0), "other")["move"]
        assert other.deviation**2 > 5 * later.deviation**2
        assert later.evidence > 3 * other.evidence


@pytest.mark.parametrize(("deviation", "seconds"), [(0.08, 6.1), (0.2, 2.0), (0.8, 0.15)])
def test_a_plan_counts_as_few_seconds_of_measurement(deviation: float, seconds: float) -> None:
    assert Speed(1.0, deviation).evidence == pytest.approx(seconds, rel=0.03)


def test_a_plan_with_a_learned_speed_teaches_the_same(tmp_path: Path) -> None:
    with closing(new_database(tmp_path)) as database:
        for _ in range(6):
            with database.write() as connection:
                steps = with_speeds(plan(50.0), load(connection, plan(50.0), a_task().instance_id))
                learn(connection, finished(steps, 100_000))
        with database.read() as connection:
            assert load(connection, plan(1.0), "other")["move"].value == pytest.approx(0.5, rel=0.01)


def test_an_instance_has_rates_of_its_own_until_it_is_deleted(tmp_path: Path) -> None:
    with closing(new_database(tmp_path)) as database:
        with database.write() as connection:
            learn(connection, finished(plan(10.0), 20_000))
            for _ in range(6):
                learn(connection, msgspec.structs.replace(finished(plan(10.0), 5_000), instance_id="quick"))
        with database.write() as connection:
            quick, usual = (load(connection, plan(1.0), name)["move"].value for name in ("quick", a_task().instance_id))
            throughput.forget(connection, "quick")
            forgotten = load(connection, plan(1.0), "quick")["move"].value
        assert quick == pytest.approx(2, rel=0.1)
        assert usual == pytest.approx(0.5, rel=0.1)
        assert forgotten != quick
