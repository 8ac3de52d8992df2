"""The expected number of batches of a range."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachewright.valkey.migration.range_size import BatchCost

USUAL = 1000


def batches(keys: float, *, sizes_vary: bool = True) -> float:
    return BatchCost(keys=USUAL, sizes_vary=sizes_vary, key=0.0, batch=1.0).work(keys)


@pytest.mark.parametrize(
    ("keys", "expected"), [(0, 1), (400, 1), (700, 1.01), (830, 1.08), (1500, 2.01), (2500, 3.01), (8000, 8.5)]
)
def test_a_range_is_a_whole_number_of_batches_unless_sizes_may_change_it(keys: int, expected: float) -> None:
    assert batches(keys) == pytest.approx(expected, abs=0.02)


@given(st.floats(0, 10_000))
def test_the_number_is_within_one_of_the_share(keys: float) -> None:
    share = keys / USUAL
    assert max(1.0, share) <= batches(keys) <= share + 1


@given(st.floats(0, 10_000), st.floats(0, 10_000))
def test_more_keys_are_no_fewer_batches(keys: float, others: float) -> None:
    fewer, more = sorted([keys, others])
    assert batches(fewer) <= batches(more) + 1e-4


@given(st.integers(1, 10_000))
def test_batches_of_a_constant_size_are_a_whole_number(keys: int) -> None:
    assert batches(keys, sizes_vary=False) == -(-keys // USUAL)
