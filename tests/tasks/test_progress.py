"""Percent and remaining seconds, as properties over any plan and any course of its counters."""

from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachewright.model.tasks import Control, Step, SubStep, Wait, Work
from cachewright.tasks import progress
from cachewright.tasks.progress import Estimate, estimate, measured, planned_seconds, settled

seconds = st.floats(0.05, 1000)
shares = st.floats(0, 1)


@pytest.fixture(autouse=True, scope="module")
def _exact_model() -> Iterator[None]:
    """Give tests of steps and lanes exact durations. The tests of the end and of delays set their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(progress, "END_SECONDS", 0.0)
        patch.setattr(progress, "LATE_SHARE", 0.0)
        yield


def sub_step(
    name: str = "s",
    *,
    lane: str = "a",
    takes: float = 10.0,
    fixed: float = 0.0,
    total: float = 100.0,
    turns: int | None = None,
    latency: float = 0.0,
    rate: str = "",
    evidence: float = 0.5,
    **state: object,
) -> SubStep:
    work = Work(
        unit="bytes",
        total=total,
        seconds=takes,
        fixed=fixed,
        lane=lane,
        turns=turns,
        latency=latency,
        rate=rate,
        evidence=evidence,
    )
    made = SubStep(id=name, name=name, action="move", arguments={}, work=work)
    return msgspec.structs.replace(made, **state)


def step(*sub_steps: SubStep) -> Step:
    return Step(id="step", name="step", sub_steps=sub_steps)


@st.composite
def plans(draw: st.DrawFn) -> tuple[Step, ...]:
    def one(position: int) -> SubStep:
        takes = draw(seconds)
        return sub_step(
            str(position),
            lane=draw(st.sampled_from("abc")),
            takes=takes,
            fixed=takes * draw(st.floats(0, 0.9)),
            turns=draw(st.sampled_from([None, 1, 2])),
            latency=takes * draw(st.floats(0, 1)),
        )

    return tuple(
        step(*(one(10 * at + position) for position in range(draw(st.integers(1, 4)))))
        for at in range(draw(st.integers(1, 4)))
    )


@st.composite
def courses(draw: st.DrawFn) -> list[tuple[int, tuple[Step, ...]]]:
    """A plan at growing times: counters grow, fall back when a sub-step is tried again, stand still, or finish."""
    steps = draw(plans())
    now = 1_000_000
    course = [(now, steps)]
    for at in range(len(steps)):
        for position in range(len(steps[at].sub_steps)):
            for done in draw(st.lists(shares, max_size=4)):
                now += draw(st.integers(0, 60_000))
                begun = steps[at].sub_steps[position].begin_time or now
                steps = changed(steps, at, position, status="EXECUTING", begin_time=begun, done=done * 100)
                course.append((now, steps))
            now += draw(st.integers(0, 60_000))
            begun = steps[at].sub_steps[position].begin_time or now
            steps = changed(steps, at, position, status="FINISH", begin_time=begun, end_time=now, done=100.0)
            course.append((now, steps))
    return course


def changed(steps: tuple[Step, ...], at: int, position: int, **state: object) -> tuple[Step, ...]:
    sub_steps = list(steps[at].sub_steps)
    sub_steps[position] = msgspec.structs.replace(sub_steps[position], **state)
    replaced = msgspec.structs.replace(steps[at], sub_steps=tuple(sub_steps))
    return (*steps[:at], replaced, *steps[at + 1 :])


@given(courses())
def test_percent_never_falls_and_is_not_100_before_the_end(course: list[tuple[int, tuple[Step, ...]]]) -> None:
    shown = 0
    for now, steps in course:
        seen = estimate(steps, now, shown=shown)
        assert shown <= seen.percent <= 99
        assert seen.remaining_seconds >= 0
        shown = seen.percent


@given(courses(), st.lists(st.integers(0, 10_000), max_size=5))
def test_how_often_it_is_asked_changes_nothing(
    course: list[tuple[int, tuple[Step, ...]]], extra_polls: list[int]
) -> None:
    now, steps = course[len(course) // 2]
    asked_once = estimate(steps, now + 10_000, shown=3)
    shown = 3
    for wait in sorted(extra_polls):
        shown = estimate(steps, now + wait, shown=shown).percent
    assert estimate(steps, now + 10_000, shown=shown) == asked_once


@given(takes=st.floats(5, 500), slow=st.floats(0.5, 3), share=st.floats(0.4, 0.8))
def test_at_a_steady_rate_the_remaining_time_falls_a_second_a_second(takes: float, slow: float, share: float) -> None:
    real = takes * slow
    at, later = share * real, (share + 0.1) * real

    def remaining(elapsed: float) -> float:
        state = sub_step(takes=takes, status="EXECUTING", begin_time=0, done=100 * elapsed / real)
        return estimate((step(state),), int(elapsed * 1000)).remaining_seconds

    fallen = remaining(at) - remaining(later)
    assert fallen == pytest.approx(later - at, rel=0.5, abs=0.01)
    assert remaining(later) == pytest.approx(real - later, rel=0.4, abs=0.05)


def test_a_counter_that_stands_still_lets_the_remaining_time_grow_and_freezes_the_percent() -> None:
    frozen = (step(sub_step(status="EXECUTING", begin_time=0, done=50.0)),)
    at_5_s, at_60_s = estimate(frozen, 5_000), estimate(frozen, 60_000)
    assert at_5_s.percent == at_60_s.percent == 50
    assert at_60_s.remaining_seconds > 3 * at_5_s.remaining_seconds


def test_lanes_run_side_by_side_and_steps_one_after_another() -> None:
    first = step(sub_step("1", lane="a", takes=10), sub_step("2", lane="a", takes=10), sub_step("3", lane="b", takes=5))
    second = step(sub_step("4", lane="a", takes=7))
    assert estimate((first, second), 0).remaining_seconds == pytest.approx(27)


def test_the_part_no_counter_shows_passes_with_the_clock() -> None:
    def at(elapsed_ms: int) -> float:
        hold = sub_step(takes=2.1, fixed=2.0, total=3, done=3.0, status="EXECUTING", begin_time=0)
        return estimate((step(hold),), elapsed_ms).remaining_seconds

    assert at(100) == pytest.approx(2.0, abs=0.2)
    assert at(1_100) == pytest.approx(1.0, abs=0.2)
    assert at(1_100) < at(600) < at(100)


def test_time_that_is_no_sign_of_slowness_is_not_still_to_come() -> None:
    """At most three quarters of the part without a counter can have passed with half of the counted work."""

    def remaining(elapsed_ms: int) -> float:
        late = sub_step(takes=11.0, fixed=1.0, done=50.0, status="EXECUTING", begin_time=0)
        return estimate((step(late),), elapsed_ms).remaining_seconds

    assert remaining(5_000) == pytest.approx(6.0)
    assert remaining(5_500) == pytest.approx(5.5)
    assert remaining(5_750) == pytest.approx(5.25)
    assert remaining(6_000) > 5.25
    assert remaining(8_000) > 5.5


def test_a_clock_that_is_set_back_does_no_harm() -> None:
    running = (step(sub_step(status="EXECUTING", begin_time=3_600_000, done=50.0)),)
    seen = estimate(running, 0, shown=60)
    assert seen.percent == 60
    assert seen.remaining_seconds >= 0


def test_the_end_of_the_task_takes_time_after_the_last_step(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = step(sub_step(takes=9.0, status="FINISH", begin_time=0, end_time=9_000, done=100.0))
    ended = msgspec.structs.replace(whole, status="FINISH")
    assert estimate((ended,), 9_000).remaining_seconds == 0
    monkeypatch.setattr(progress, "END_SECONDS", 1.0)
    at_the_end = estimate((ended,), 9_000)
    assert (at_the_end.remaining_seconds, at_the_end.percent) == (1.0, 90)


def test_the_estimate_is_later_than_the_model_and_less_so_in_short_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    def left(takes: float) -> float:
        return estimate((step(sub_step(takes=takes)),), 0).remaining_seconds

    assert left(1.0) == pytest.approx(1)
    monkeypatch.setattr(progress, "LATE_SHARE", 0.04)
    assert left(1.0) == pytest.approx(1.01)
    assert left(9.0) == pytest.approx(9 * 1.03)
    assert left(3000.0) == pytest.approx(3000 * 1.04, rel=1e-4)


def test_the_plan_took_a_part_of_the_duration() -> None:
    half = sub_step("a", takes=3.0, status="EXECUTING", begin_time=1_000, progress_at=2_500, done=50.0)
    planned = msgspec.structs.replace(step(half), planning_ms=1_000)
    assert estimate([step(half)], 2_500).percent == 50
    assert estimate([planned], 2_500).percent == 62  # 1 + 1.5 of 4 seconds
    assert estimate([planned], 2_500).remaining_seconds == estimate([step(half)], 2_500).remaining_seconds
    assert planned_seconds([planned]) == planned_seconds([step(half)]) + 1
    waiting = msgspec.structs.replace(step(sub_step("a", takes=3.0)), planning_ms=1_000)
    assert estimate([waiting], 2_500).percent == 0, "no sub-step has begun"


def test_a_plan_without_work_has_no_percent() -> None:
    assert estimate((), 0).percent == 0


def test_waits_are_neither_work_nor_slowness() -> None:
    running = sub_step(status="EXECUTING", begin_time=0, progress_at=5_000, done=50.0)
    paused = msgspec.structs.replace(running, waiting=Wait(5_000, "paused"))
    resumed = msgspec.structs.replace(running, waited_ms=60_000)
    at_once = estimate((step(running),), 5_000)
    assert estimate((step(paused),), 65_000) == at_once
    assert estimate((step(resumed),), 65_000) == at_once


def test_waits_for_a_latency_ceiling_are_the_pace_of_a_task_that_has_one() -> None:
    running = sub_step(status="EXECUTING", begin_time=0, progress_at=50_000, done=50.0, waited_ms=45_000)
    paused, limited = step(running), step(msgspec.structs.replace(running, limited_ms=45_000))
    ceiling = Control(latency_ceiling_ms=1.0)
    assert estimate((limited,), 50_000, control=ceiling).remaining_seconds > 30
    assert estimate((limited,), 50_000).remaining_seconds == pytest.approx(5.0)
    assert estimate((paused,), 50_000, control=ceiling).remaining_seconds == pytest.approx(5.0)


def test_lanes_share_their_turns() -> None:
    lanes = [sub_step(lane, lane=lane, takes=10, turns=1) for lane in "abc"]
    assert estimate((step(*lanes),), 0).remaining_seconds == pytest.approx(30)
    assert planned_seconds((step(*lanes),)) == pytest.approx(30)
    state = {"status": "EXECUTING", "begin_time": 0, "done": 50.0, "progress_at": 15_000}
    half = [msgspec.structs.replace(one, **state) for one in lanes]
    assert estimate((step(*half),), 15_000).remaining_seconds == pytest.approx(15)
    assert estimate((step(*half),), 15_000).percent == 50


def test_half_of_a_start_and_of_its_latency_passes_before_any_counted_work() -> None:
    lanes = [sub_step(lane, lane=lane, takes=10, turns=1, fixed=4, latency=4, evidence=10) for lane in "abc"]
    state = {"status": "EXECUTING", "begin_time": 0}
    begun = step(*(msgspec.structs.replace(one, **state) for one in lanes))
    before = estimate((begun,), 0).remaining_seconds
    assert before == pytest.approx(3 * 6)
    assert estimate((begun,), 2_000).remaining_seconds == pytest.approx(before)
    assert estimate((begun,), 4_000).remaining_seconds > before, "the other half passes with the counted work"
    half = step(*(msgspec.structs.replace(one, done=50.0, **state) for one in lanes))
    assert estimate((half,), 9_000).remaining_seconds == pytest.approx(9)


def test_lanes_work_in_the_latency_of_others() -> None:
    short = [sub_step(lane, lane=lane, takes=10, turns=1, latency=6) for lane in "abc"]
    assert estimate((step(*short),), 0).remaining_seconds == pytest.approx(12)
    long = sub_step("d", lane="d", takes=40, turns=1, latency=6)
    assert estimate((step(*short, long),), 0).remaining_seconds == pytest.approx(46)
    assert estimate((step(*short),), 0, control=Control(parallel=1)).remaining_seconds == pytest.approx(30)


def test_lanes_of_a_limited_task_run_one_after_another() -> None:
    lanes = [sub_step(lane, lane=lane, takes=10) for lane in "abc"]
    assert estimate((step(*lanes),), 0, control=Control(parallel=1)).remaining_seconds == pytest.approx(30)


def test_a_part_without_a_counter_is_expected_to_pass_with_the_clock() -> None:
    copied = sub_step(status="EXECUTING", begin_time=0, done=60.0, uncounted=40.0, uncounted_at=6_000)
    at_once, later, late = (estimate((step(copied),), at) for at in (6_000, 8_000, 20_000))
    assert at_once.remaining_seconds == pytest.approx(4)
    assert later.remaining_seconds == pytest.approx(2, abs=0.1)
    assert at_once.percent == later.percent == late.percent == 80, "no counter has moved"


def test_a_deletion_without_a_counter_shares_the_processors_with_other_lanes() -> None:
    """Two seconds of handover, then six of deletion."""

    def deleting(lane: str, **state: object) -> SubStep:
        return sub_step(
            lane,
            lane=lane,
            turns=1,
            evidence=1e9,
            status="EXECUTING",
            begin_time=-6_000,
            done=20.0,
            uncounted=80.0,
            uncounted_busy=60.0,
            uncounted_at=0,
            **state,
        )

    def left(now: int, *lanes: SubStep) -> float:
        return estimate((step(*lanes),), now).remaining_seconds

    alone = deleting("a")
    assert left(2_000, alone) == pytest.approx(6)
    assert left(5_000, alone) == pytest.approx(3)
    three = [deleting(lane) for lane in "abc"]
    assert left(2_000, *three) == pytest.approx(18, rel=0.01)
    assert left(11_000, *three) == pytest.approx(9, rel=0.01)
    waiting = msgspec.structs.replace(three[2], waiting=Wait(0, "a pause"))
    assert left(5_000, *three[:2], waiting) == pytest.approx(2 * 4.5 + 8, rel=0.01)


def test_a_rate_is_measured_by_all_of_its_sub_steps() -> None:
    done = sub_step("1", rate="r", takes=10, status="FINISH", begin_time=0, end_time=20_000, done=100.0)
    other = sub_step("2", rate="r", takes=10)
    plan = (msgspec.structs.replace(step(done), status="FINISH"), step(other))
    assert estimate(plan, 20_000).remaining_seconds == pytest.approx(20, rel=0.05)
    assert estimate(plan, 20_000).percent == pytest.approx(50, abs=2)


@given(courses())
def test_the_interval_holds_the_estimate(course: list[tuple[int, tuple[Step, ...]]]) -> None:
    for now, steps in course:
        seen = estimate(steps, now)
        assert 0 <= seen.low <= seen.remaining_seconds <= seen.high


def test_more_evidence_makes_the_interval_narrower() -> None:
    def width(evidence: float) -> float:
        seen = estimate((step(sub_step(takes=100, evidence=evidence)),), 0)
        return seen.high - seen.low

    assert width(0.1) > 2 * width(10) > 0


def test_a_new_mode_has_its_own_effort() -> None:
    fast = Work(unit="bytes", total=100.0, seconds=2.0, lane="a", rate="fast")
    moving = sub_step(status="EXECUTING", begin_time=0, progress_at=5_000, done=50.0, work_in_modes={"fastest": fast})
    assert estimate((step(moving),), 5_000).remaining_seconds == pytest.approx(5)
    assert estimate((step(moving),), 5_000, control=Control(mode="fastest")).remaining_seconds < 4


def test_an_effort_that_turns_out_smaller_is_no_speed() -> None:
    """Half of the effort has passed in half of the planned time, because there is only half of it."""
    moving = sub_step("1", status="EXECUTING", begin_time=0, progress_at=2_500, done=50.0, scale=0.5)
    seen = estimate((step(moving, sub_step("2")),), 2_500)
    assert seen.remaining_seconds == pytest.approx(2.5 + 5)
    assert seen.percent == 25
    (measure,) = measured((step(moving),), 2_500).values()
    assert measure.slowness == pytest.approx(1)


def test_a_range_with_little_work_does_not_speak_for_the_others() -> None:
    """Clients have made a range of 0.1 s 30 times as large, and one of 5 s has become twice as large."""
    little = sub_step("1", status="EXECUTING", begin_time=0, takes=0.1, scale=30.0)
    large = sub_step("2", status="EXECUTING", begin_time=0, takes=4.9, scale=2.0)
    seen = estimate((step(little, large, sub_step("3")),), 0)
    assert seen.remaining_seconds == pytest.approx(3 + 9.8 + 10 * (3 + 9.8) / 5)


@given(before=st.floats(0, 1000), passed=st.floats(0, 1), elapsed=st.floats(0, 1000), current=st.floats(0, 1000))
def test_the_shown_end_moves_in_small_steps_towards_the_estimate(
    before: float, passed: float, elapsed: float, current: float
) -> None:
    seen = settled(Estimate(50, current, current / 2, current * 2), before, passed, elapsed)
    expected = max(before - passed, 0)
    assert abs(seen.remaining_seconds - current) <= abs(expected - current) + 1e-9
    duration = max(elapsed + max(current, expected), 5)
    assert abs(seen.remaining_seconds - expected) <= 0.3 * min(passed, 0.25) * duration + 1e-9
    assert seen.low <= seen.remaining_seconds <= seen.high
