"""Batch sizes, by clients and measured latency."""

from hypothesis import given
from hypothesis import strategies as st

from cachewright.valkey.client_activity import ClientActivity
from cachewright.valkey.migration.batch_size import BatchSizer

stalls = st.lists(st.tuples(st.floats(0, 5), st.floats(0, 0.5)), max_size=30)


def seen(at: float, connected: int, calls: int) -> ClientActivity:
    return ClientActivity(at=at, connected=connected, calls=calls)


def test_a_source_without_clients_moves_much_at_once() -> None:
    sizer = BatchSizer(250)
    sizer.observe(seen(0, 0, 1_000_000), prioritizes_speed=False)
    keys, at_once = sizer.next_batches()
    assert not sizer.protects_clients
    assert keys >= 100_000
    assert at_once > 1


def test_whoever_is_connected_is_spared_until_it_has_been_idle_for_a_piece() -> None:
    sizer = BatchSizer(250)
    sizer.observe(seen(0, 1, 500), prioritizes_speed=False)
    assert sizer.protects_clients
    sizer.observe(seen(2, 1, 500), prioritizes_speed=False)
    assert not sizer.protects_clients
    sizer.observe(seen(4, 1, 600), prioritizes_speed=False)
    assert sizer.protects_clients


def test_priority_speed_ignores_clients() -> None:
    sizer, unasked = BatchSizer(250), BatchSizer(250)
    sizer.observe(seen(0, 1, 500), prioritizes_speed=True)
    unasked.observe(seen(0, 0, 0), prioritizes_speed=False)
    assert not sizer.protects_clients
    assert sizer.next_batches() == unasked.next_batches()


@given(stalls)
def test_careful_pieces_move_one_at_a_time_and_stay_within_their_limits(felt: list[tuple[float, float]]) -> None:
    sizer = BatchSizer(250)
    sizer.observe(seen(0, 3, 10), prioritizes_speed=False)
    for longest, forked in felt:
        sizer.record_latency(longest, forked)
        keys, at_once = sizer.next_batches()
        assert at_once == 1
        assert 5_000 <= keys <= 100_000


def test_a_long_wait_makes_pieces_smaller_and_a_short_one_larger() -> None:
    sizer = BatchSizer(250)
    before, _ = sizer.next_batches()
    sizer.record_latency(0.2, 0.01)
    smaller, _ = sizer.next_batches()
    sizer.record_latency(0.005, 0.001)
    larger, _ = sizer.next_batches()
    assert smaller < before
    assert larger > smaller


def test_a_wait_that_the_fork_explains_does_not_make_pieces_smaller() -> None:
    sizer = BatchSizer(250)
    before, _ = sizer.next_batches()
    sizer.record_latency(0.2, 0.19)
    assert sizer.next_batches()[0] > before


def test_large_keys_move_few_at_a_time() -> None:
    assert BatchSizer(10_000_000).next_batches() == (3, 1)
    assert BatchSizer(1e12).next_batches() == (1, 1)
