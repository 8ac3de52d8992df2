"""Contestants compared, and the page of results."""

from pathlib import Path

import pytest
from bench.page import text
from bench.results import Row, formatted, ratio, spread
from hypothesis import given
from hypothesis import strategies as st

RESULTS = Path(__file__).parents[2] / "docs" / "benchmarks"
seconds = st.lists(st.tuples(st.floats(0.01, 1e3), st.floats(0.01, 1e3)), min_size=1, max_size=9)


def rows(pairs: list[tuple[float, float]]) -> list[Row]:
    return [
        Row(case="case", contestant=name, round=turn, values={"seconds": value})
        for turn, pair in enumerate(pairs)
        for name, value in zip(("ours", "theirs"), pair, strict=True)
    ]


@given(seconds)
def test_rounds_are_compared_each_with_its_own(pairs: list[tuple[float, float]]) -> None:
    found = ratio(rows(pairs), "case", "seconds", "ours", "theirs")
    shares = sorted(ours / theirs for ours, theirs in pairs)
    assert (found.low, found.high, found.count) == (shares[0], shares[-1], len(pairs))
    assert found.low <= found.median <= found.high


def test_a_round_that_the_peer_left_out_does_not_count() -> None:
    kept = [row for row in rows([(1.0, 2.0), (3.0, 4.0)]) if (row.contestant, row.round) != ("theirs", 1)]
    assert ratio(kept, "case", "seconds", "ours", "theirs").median == 0.5


def test_nothing_measured_is_no_figure() -> None:
    with pytest.raises(ValueError, match="nothing was measured"):
        spread([])


def test_a_figure_is_told_with_its_spread() -> None:
    assert formatted(spread([0.97, 0.91, 1.02]), " x") == "0.97 x (0.91 to 1.02)"
    assert formatted(spread([1234.5])) == "1,234"


def test_the_page_shows_the_results_that_are_kept() -> None:
    page = RESULTS.parent / "benchmarks.md"
    assert page.read_text() == text(RESULTS, page)
