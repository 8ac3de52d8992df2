"""The finished share of a range, from counters of its jobs, its keys and its bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachewright.valkey.migration.jobs import Job
from cachewright.valkey.migration.range_size import BatchCost, BatchShare, LargeValues, RangeSize
from cachewright.valkey.migration.transfer import TransferProgress

SLOTS, KEYS_A_SLOT, BYTES = 100, 1_000, 100.0
KEYS = SLOTS * KEYS_A_SLOT
DELETION = 0.5
LARGE = st.builds(LargeValues, bytes=st.floats(0, 1e9), worth=st.floats(0, 1e9))


def progress(
    *, slots: int = SLOTS, large: dict[int, LargeValues] | None = None, batch: float = 0.0, batch_keys: int = KEYS
) -> TransferProgress:
    small = BatchCost(deletion=DELETION, batch=batch)
    size = RangeSize(keys=KEYS, bytes_per_key=BYTES, large=large or {}, small_batches=small)
    made = TransferProgress(dict.fromkeys(range(SLOTS - slots, SLOTS), KEYS_A_SLOT), size, 0)
    made.expect_batches(batch_keys)
    return made


def job(state: str, first: int = 0, last: int = SLOTS - 1, buffered: int = 0) -> Job:
    return Job(
        name=f"{first}", operation="EXPORT", slot_ranges=f"{first}-{last}", state=state, remaining_repl_size=buffered
    )


def test_the_copy_is_a_part_of_the_work() -> None:
    half = progress().transfer(KEYS // 2, [job("snapshotting")], KEYS * 50)
    assert half.share == pytest.approx(0.5 / (1 + DELETION))
    assert half.uncounted == 0
    assert half.keys == KEYS // 2


def test_what_precedes_and_what_follows_the_copy_has_no_counter() -> None:
    """Three quarters of the constant work of a batch precede its copy."""
    measured = progress(batch=KEYS * 0.5)
    starting = measured.transfer(0, [job("waiting-to-snapshot")], 0)
    assert (starting.share, starting.uncounted) == (0, pytest.approx(0.375 / 2))
    begun = measured.transfer(0, [job("snapshotting")], 0)
    assert (begun.share, begun.uncounted) == (pytest.approx(0.375 / 2), 0)
    copied = measured.transfer(KEYS, [job("replicating")], KEYS * 100)
    assert copied.share == pytest.approx((0.375 + 1) / 2)
    assert copied.uncounted == pytest.approx((0.125 + DELETION) / 2)
    assert (starting.deletion, copied.deletion) == (0, pytest.approx(DELETION / 2))
    handed_over = measured.transfer(KEYS, [job("success")], KEYS * 100)
    assert handed_over.share == pytest.approx(1.0)
    assert handed_over.uncounted == 0


def test_a_source_that_has_copied_all_keys_may_not_tell_so_before_it_deletes_them() -> None:
    assert progress().transfer(KEYS, [job("snapshotting")], KEYS * 100).uncounted > 0
    large = {50: LargeValues(bytes=KEYS * BYTES, worth=KEYS)}
    assert progress(large=large).transfer(KEYS, [job("snapshotting")], KEYS * 150).uncounted == 0
    assert progress(large=large).transfer(KEYS, [job("snapshotting")], KEYS * 200).uncounted > 0


def test_batches_are_handed_over_one_after_another() -> None:
    measured = progress()
    first, second = job("success", 0, 49), job("snapshotting", 50, 99)
    assert measured.transfer(KEYS // 2, [second, first], KEYS * 50).share == pytest.approx(0.5)
    again = measured.transfer(KEYS * 3 // 4, [second], KEYS * 75)
    assert again.share == pytest.approx((0.75 + 0.5 * DELETION) / (1 + DELETION))
    copied = measured.transfer(KEYS, [job("failover-paused", 50, 99)], KEYS * 100)
    assert copied.uncounted == pytest.approx(0.5 * DELETION / (1 + DELETION))


def test_batches_that_grow_are_foreseen() -> None:
    """The first ten batches were small. Those to come are as large as the last ones; one alone tells little."""
    measured = progress(batch=KEYS, batch_keys=KEYS_A_SLOT)
    measured.hand_over([job("success", slot, slot) for slot in range(10)])
    before = measured.transfer(10 * KEYS_A_SLOT, [job("success", 9, 9)], 0)
    small = before.share
    measured.expect_batches(2 * KEYS_A_SLOT)
    once = measured.transfer(10 * KEYS_A_SLOT, [job("success", 9, 9)], 0)
    assert before.scale is not None
    assert once.scale is not None
    assert before.scale * 0.8 < once.scale < before.scale
    for _ in range(20):
        measured.expect_batches(KEYS)
    grown = measured.transfer(10 * KEYS_A_SLOT, [job("success", 9, 9)], 0).share
    assert measured.transfer(10 * KEYS_A_SLOT, [job("success", 9, 9)], 0).scale == pytest.approx(12.5 / 2.5, rel=0.01)
    assert small == pytest.approx(0.1, abs=0.01)
    assert grown == pytest.approx((10 + 0.15) / (11 + 1.5), abs=0.01)


@given(handed_over=st.integers(0, SLOTS), batch=st.floats(0, 1e5), batch_a_key=st.floats(0, 10), varies=st.booleans())
def test_batches_of_a_smaller_source_are_less_work(
    handed_over: int, batch: float, batch_a_key: float, varies: bool
) -> None:
    """Each slot is a batch. The first ones cost most, because the source still has the keys of the others."""
    size = RangeSize(
        keys=KEYS,
        bytes_per_key=BYTES,
        small_batches=BatchCost(
            keys=KEYS_A_SLOT, sizes_vary=varies, deletion=DELETION, batch=batch, batch_a_key=batch_a_key
        ),
    )
    measured = TransferProgress(dict.fromkeys(range(SLOTS), KEYS_A_SLOT), size, 0)
    measured.expect_batches(KEYS_A_SLOT)
    measured.hand_over([job("success", slot, slot) for slot in range(handed_over)])
    now = measured.transfer(handed_over * KEYS_A_SLOT, [], 0)
    assert now.scale == pytest.approx(1, rel=0.01), "the batches are as planned"
    keys = KEYS_A_SLOT * handed_over
    costs = [batch + batch_a_key * (KEYS - KEYS_A_SLOT * (slot + 0.5)) for slot in range(SLOTS)]
    done = keys * (1 + DELETION) + sum(costs[:handed_over])
    assert now.share == pytest.approx(done / (KEYS * (1 + DELETION) + sum(costs)), abs=0.01)


def test_the_effort_follows_the_batches_that_clients_allow() -> None:
    """A large batch moves a key with a tenth of the work. The plan expects none; half of the keys move in one."""
    size = RangeSize(
        keys=KEYS,
        bytes_per_key=BYTES,
        small_batches=BatchCost(keys=KEYS_A_SLOT, batch=KEYS_A_SLOT, deletion=DELETION),
        large_batches=BatchCost(key=0.1, deletion=0.15),
    )
    share = BatchShare()
    measured = TransferProgress(dict.fromkeys(range(SLOTS), KEYS_A_SLOT), size, 0, share)
    measured.expect_batches(KEYS_A_SLOT)
    assert measured.transfer(0, [job("snapshotting", 0, 0)], 0).scale == pytest.approx(1)
    measured.hand_over([job("success", 0, 0)])
    measured.expect_batches(KEYS, small=False)
    large = measured.transfer(KEYS_A_SLOT, [job("snapshotting", 1, 50)], 0)
    assert large.scale == pytest.approx((2.5 * 50 + 0.25 * 50) / (2.5 * 100), rel=0.02)
    measured.hand_over([job("success", 1, 50)])
    assert share.measured == pytest.approx(1 / 51)
    after = measured.transfer(51 * KEYS_A_SLOT, [], 0)
    assert after.scale is not None
    assert after.scale < large.scale  # type: ignore[operator]  # both are set


@pytest.mark.parametrize(
    ("planned", "after_a_range"),
    [
        pytest.param(1.0, 0.2, id="clients that stayed so far may be gone"),
        pytest.param(0.5, 0.42, id="clients that came and went will do so"),
    ],
)
def test_the_planned_share_of_small_batches_gives_way_to_the_measured_one(planned: float, after_a_range: float) -> None:
    share = BatchShare()
    assert share.measured is None
    assert share.expected(planned, KEYS) == planned
    share.record(KEYS, small=False)
    assert share.expected(planned, KEYS) == pytest.approx(after_a_range)
    share.record(KEYS, small=True)
    assert share.measured == 0.5


def test_the_planned_size_of_batches_gives_way_to_the_measured_one() -> None:
    share = BatchShare()
    sizes = [share.usual_small_batch(1000, 3000) for _ in range(80)]
    assert sizes[0] == pytest.approx(2935, rel=0.001), "a batch says little of those to come"
    assert sizes[7] == pytest.approx(1715, rel=0.001), "half as many batches as recent ones, half as many as planned"
    assert sizes[-1] == pytest.approx(1065, rel=0.001), "the planned size is almost forgotten"
    assert BatchShare().usual_small_batch(1000, 0) == 1000, "no size was planned"


def test_slots_that_an_earlier_attempt_has_moved_are_finished() -> None:
    assert progress(slots=25).transfer(0, [job("snapshotting", 75)], 1).share == pytest.approx(0.75)
    assert progress(slots=25).by_key(KEYS // 8) == pytest.approx(0.875)


def test_the_rest_of_a_range_is_no_measure_for_what_moved_before() -> None:
    small = BatchCost(keys=KEYS // 2, batch=KEYS * 0.25, deletion=DELETION)
    size = RangeSize(keys=KEYS, bytes_per_key=BYTES, small_batches=small)
    rest = TransferProgress({99: 10}, size, 0).transfer(0, [job("snapshotting", 99, 99)], 0)
    assert rest.scale == pytest.approx(1, rel=0.3)
    assert 0.8 < rest.share < 1


def test_a_range_without_keys_keeps_its_planned_effort() -> None:
    small = BatchCost(batch=1000.0, deletion=DELETION)
    size = RangeSize(keys=0, bytes_per_key=BYTES, small_batches=small)
    empty = TransferProgress(dict.fromkeys(range(SLOTS), 0), size, 0)
    assert empty.transfer(0, [job("snapshotting")], 0).scale == 1


def test_a_large_value_is_followed_by_its_bytes() -> None:
    """Its key is on the target as soon as its first elements are."""
    measured = progress(large={50: LargeValues(bytes=KEYS * BYTES, worth=KEYS)})
    shares = [
        measured.transfer(KEYS, [job("snapshotting")], int(KEYS * BYTES * (1 + of_large))).share
        for of_large in (0.0, 0.25, 0.5, 1.0)
    ]
    assert shares == pytest.approx([worth / (2 + DELETION) for worth in (1.0, 1.25, 1.5, 2.0)])


def test_writes_that_the_source_has_buffered_are_work() -> None:
    buffered = progress().transfer(KEYS, [job("replicating", buffered=int(KEYS * BYTES))], KEYS * 100)
    assert buffered.share == pytest.approx(1 / (2 + DELETION))
    assert buffered.uncounted == 0


@given(
    arrived=st.integers(0, 2 * KEYS),
    exported=st.integers(0, 10**9),
    state=st.sampled_from(["connecting", "waiting-to-snapshot", "snapshotting", "replicating", "failed", "success"]),
    buffered=st.integers(0, 10**9),
    large=st.dictionaries(
        st.integers(0, SLOTS - 1), st.builds(LargeValues, bytes=st.floats(0, 1e9), worth=st.floats(0, 1e9))
    ),
)
def test_shares_are_shares(
    arrived: int, exported: int, state: str, buffered: int, large: dict[int, LargeValues]
) -> None:
    seen = progress(large=large).transfer(arrived, [job(state, buffered=buffered)], exported)
    assert 0 <= seen.share <= seen.share + seen.uncounted <= 1 + 1e-9
