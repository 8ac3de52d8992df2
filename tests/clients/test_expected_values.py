"""The values that a worker of a client library may read, and the description of a time by its sub-step."""

from datetime import UTC, datetime

from bench.client_libraries.expectation import Expectation
from bench.client_libraries.moments import Change, moment
from hypothesis import given
from hypothesis import strategies as st

from cachewright.client.progress import Progress, Step, SubStep

values = st.integers(0, 9).map(str)


@given(st.lists(st.tuples(values, st.booleans()), min_size=1), values)
def test_only_the_last_acknowledged_value_or_a_later_failed_one_may_be_read(
    writes: list[tuple[str, bool]], found: str
) -> None:
    expected = Expectation()
    for value, acknowledged in writes:
        expected.unsure("key", value)
        if acknowledged:
            expected.acknowledged("key", value)
    last = max((at for at, (_, acknowledged) in enumerate(writes) if acknowledged), default=None)
    allowed = {value for value, _ in writes[last or 0 :]}
    assert (expected.contradiction("key", found) is None) == (last is None or found in allowed)
    assert (expected.contradiction("key", None) is None) == (last is None)
    assert expected.writes == sum(acknowledged for _, acknowledged in writes)


def test_a_moment_is_named_by_the_sub_step_that_ran() -> None:
    def at(second: int) -> datetime:
        return datetime.fromtimestamp(1000 + second, UTC)

    steps = [
        SubStep(name=name, status="SUCCESS", begin=at(begin), end=at(begin + 2)) for name, begin in (("a", 0), ("b", 1))
    ]
    progress = Progress(percent=100, remaining=0, steps=(Step(name="step", status="SUCCESS", sub_steps=tuple(steps)),))
    changes = [Change(name="scale", progress=progress)]
    assert moment(1000.5, changes) == "scale: a, 0.500 s after its begin"
    assert moment(1001.5, changes) == "scale: a, 1.500 s after its begin; scale: b, 0.500 s after its begin"
    assert moment(1007.0, changes) == "4.000 s after the end of scale: b"
    assert moment(999.0, changes) == "before the first change"
