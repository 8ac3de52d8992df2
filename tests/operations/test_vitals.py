"""The hour that is kept of an instance's numbers."""

from hypothesis import given
from hypothesis import strategies as st

from cachewright.operations.vitals import MEASURE_SECONDS, History, Sample

HOUR = int(3600 / MEASURE_SECONDS)
BIG = st.integers(0, 2**62)
SMALL = st.integers(0, 2**32 - 1)
RATE = st.integers(0, 100_000).map(lambda hundredths: hundredths / 100)


@given(st.lists(st.builds(Sample, at=BIG, used_memory=BIG, keys=BIG, ops_per_second=SMALL, clients=SMALL,
                          input_kbps=RATE, output_kbps=RATE), max_size=5))  # fmt: skip
def test_what_is_kept_is_told_as_it_was(samples: list[Sample]) -> None:
    history = History()
    for sample in samples:
        history.append(sample)
    assert list(history) == samples
    assert history.last == (samples[-1] if samples else None)


def test_an_hour_is_kept() -> None:
    history = History()
    for at in range(HOUR + 3):
        numbers = {"keys": 1, "ops_per_second": 1, "clients": 1, "input_kbps": 0.5, "output_kbps": 1.25}
        history.append(Sample(at=at, used_memory=at, **numbers))
    assert [sample.at for sample in history] == list(range(3, HOUR + 3))
