"""Slowness that is measured from the sub-steps of each rate."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from test_progress import seconds, step, sub_step

from cachewright.tasks.progress import measured, planned_seconds


@given(small=seconds, large=seconds, turns=st.sampled_from([1, 2, None]), slow=st.floats(0.5, 3))
@example(small=10.0, large=10.0, turns=1, slow=1.0)
def test_lanes_of_different_rates_that_share_processors_are_not_slow(
    small: float, large: float, turns: int | None, slow: float
) -> None:
    """Two lanes that begin together. While both run with one turn, each has half of the processors."""
    short, long = sorted((small, large))
    ends = (2 * short, short + long) if turns == 1 else (short, long)
    lanes = [
        sub_step(
            rate,
            lane=rate,
            rate=rate,
            takes=takes,
            turns=turns,
            status="FINISH",
            begin_time=0,
            end_time=round(end * slow * 1000),
            done=100.0,
        )
        for rate, takes, end in zip("ab", (short, long), ends, strict=True)
    ]
    found = measured((step(*lanes),), 10**9)
    real, passed = (sum(values) for values in zip(*((one.real, one.passed) for one in found.values()), strict=True))
    assert real / passed == pytest.approx(slow, rel=0.05)
    if small == large:
        assert [one.real / one.passed for one in found.values()] == pytest.approx([slow, slow], rel=0.05)


@given(
    planned=st.tuples(seconds, seconds, seconds),
    real=st.tuples(seconds, seconds, seconds),
    turns=st.sampled_from([1, None]),
)
@example(planned=(5.0, 6.0, 6.0), real=(4.5, 8.8, 10.2), turns=1)
def test_the_measured_slowness_of_all_rates_explains_how_long_the_step_has_worked(
    planned: tuple[float, ...], real: tuple[float, ...], turns: int | None
) -> None:
    """A wait with a move after it, and a move beside them."""
    waits, moves, beside = (round(1000 * one) for one in real)
    spans = {"wait": (0, waits), "after": (waits, waits + moves), "beside": (0, beside)}
    sub_steps = [
        sub_step(
            name,
            lane="b" if name == "beside" else "a",
            rate="wait" if name == "wait" else "move",
            takes=takes,
            turns=None if name == "wait" else turns,
            latency=takes / 2 if name == "wait" else 0.0,
            status="FINISH",
            begin_time=begin,
            end_time=end,
            done=100.0,
        )
        for (name, (begin, end)), takes in zip(spans.items(), planned, strict=True)
    ]
    slowness = {rate: one.real / one.passed for rate, one in measured((step(*sub_steps),), 10**9).items()}
    again = [
        sub_step(
            one.id,
            lane=one.work.lane,
            takes=one.work.seconds * slowness[one.work.rate],
            turns=one.work.turns,
            latency=one.work.latency * slowness[one.work.rate],
        )
        for one in sub_steps
    ]
    assert planned_seconds((step(*again),)) == pytest.approx(max(waits + moves, beside) / 1000)


@given(planned=seconds, stands=seconds)
def test_a_lane_without_progress_says_nothing_of_the_rates_of_others(planned: float, stands: float) -> None:
    other = sub_step(
        "1",
        lane="a",
        rate="steady",
        takes=planned,
        status="FINISH",
        begin_time=0,
        end_time=round(planned * 1000),
        done=100.0,
    )
    standing = sub_step("2", lane="b", rate="standing", status="EXECUTING", begin_time=0)
    now = round((planned + stands) * 1000)
    found = measured((step(other, standing),), now)
    assert found["steady"].real / found["steady"].passed == pytest.approx(1, rel=0.02)
    assert found["standing"].real == pytest.approx(now / 1000)
    assert found["standing"].passed == 0
