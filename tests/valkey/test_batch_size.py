"""Batch sizes, by clients and measured waits."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachewright.valkey.client_activity import ClientActivity
from cachewright.valkey.migration.batch_size import (
    AIM_SECONDS,
    SHORT_KEYS,
    BatchSizer,
    large_batches,
    without_small_rest,
)
from cachewright.valkey.migration.key_batches import LARGE_BYTES, KeyBatchSizer
from cachewright.valkey.migration.wait_model import WaitLearner, WaitModel, fork_wait
from cachewright.valkey.slots import SlotRange, cut, slots_of

batches = st.lists(st.tuples(st.integers(0, 200_000), st.floats(0, 5), st.floats(0, 0.5)), max_size=60)


def seen(at: float, connected: int, calls: int) -> ClientActivity:
    return ClientActivity(at=at, connected=connected, calls={"set": calls})


def sizer(bytes_per_key: float = 250.0, learner: WaitLearner | None = None) -> BatchSizer:
    return BatchSizer(bytes_per_key, learner or WaitLearner())


def test_a_source_without_connected_clients_has_no_clients_at_first() -> None:
    found = sizer()
    found.observe(seen(0, 0, 1_000_000))
    assert not found.has_clients


def test_connected_clients_are_protected_until_they_have_been_idle_for_a_batch() -> None:
    found = sizer()
    found.observe(seen(0, 1, 500))
    assert found.has_clients
    found.observe(seen(2, 1, 500))
    assert not found.has_clients
    found.observe(seen(4, 1, 600))
    assert found.has_clients


def test_clients_that_connect_for_each_command_are_protected() -> None:
    found = sizer()
    found.observe(seen(0, 0, 500))
    found.observe(seen(1, 0, 700))
    assert found.has_clients


@given(calls=st.integers(2, 10_000), before=st.integers(0, 10_000))
def test_a_reset_of_the_counters_leaves_clients_protected(calls: int, before: int) -> None:
    found = sizer()
    found.observe(seen(0, 1, before))
    after = calls if calls < before else before + calls
    found.observe(seen(1, 1, after))
    assert found.has_clients


@given(batches)
def test_small_batches_stay_within_their_limits(measured: list[tuple[int, float, float]]) -> None:
    found = sizer()
    for keys, wait, fork in measured:
        found.record(keys, wait, fork)
        assert SHORT_KEYS <= found.small_batch(fork) <= 100_000


def test_a_batch_has_about_twenty_thousand_keys_at_first() -> None:
    assert 18_000 < sizer().small_batch(0.005) < 24_000


@given(st.lists(st.integers(0, 50), min_size=1, max_size=200), st.integers(1, 2_000))
def test_large_batches_are_few_and_of_equal_size(counts: list[int], most: int) -> None:
    keys = dict(enumerate(counts))
    cut_into = large_batches([SlotRange(0, len(counts) - 1)], keys, most)
    assert slots_of(cut_into) == list(keys)
    sizes = [sum(keys[slot] for slot in slots_of([batch])) for batch in cut_into]
    assert len(sizes) <= len(cut([SlotRange(0, len(counts) - 1)], keys, most))
    assert max(sizes) <= max(most, *counts, 0)


def test_large_batches_have_equal_sizes() -> None:
    cut_into = large_batches([SlotRange(0, 999)], dict.fromkeys(range(1_000), 1_000), 600_000)
    assert [len(slots_of([batch])) for batch in cut_into] == [501, 499]


def test_large_keys_move_few_at_a_time() -> None:
    assert sizer(10_000_000).small_batch(0.0) == 3
    assert sizer(1e12).small_batch(0.0) == 1


def test_a_fork_that_takes_longer_than_the_aim_makes_batches_larger() -> None:
    assert sizer().small_batch(0.06) > sizer().small_batch(0.005)
    assert sizer().small_batch(0.06) <= WaitModel().keys_within(fork_wait(0.06), 0.0)


@pytest.mark.parametrize(("base", "per_key"), [(0.008, 0.7e-6), (0.014, 1e-6), (0.012, 2.5e-6)])
def test_the_waits_of_a_host_are_learned_from_a_few_batches(base: float, per_key: float) -> None:
    learner, chance = WaitLearner(), random.Random(1)
    found = sizer(learner=learner)
    for number in range(20):
        keys = found.small_batch(0.004)
        wait = base + per_key * keys * chance.uniform(0.9, 1.1)
        found.record(keys, 0.4 if number % 7 == 3 else wait, 0.004)  # the host stalls now and then
    keys = found.small_batch(0.004)
    if keys > SHORT_KEYS:
        assert base + per_key * keys == pytest.approx(AIM_SECONDS, rel=0.25)


def test_a_host_that_always_stalls_does_not_get_ever_smaller_batches() -> None:
    found = sizer()
    for _ in range(30):
        found.record(found.small_batch(0.004), 0.1, 0.004)
    assert found.small_batch(0.004) >= SHORT_KEYS
    assert WaitModel(base=0.05).keys_within(AIM_SECONDS, 0.004) == WaitModel(base=0.02).keys_within(AIM_SECONDS, 0.004)


def test_a_wait_that_the_fork_explains_does_not_make_batches_smaller() -> None:
    found = sizer()
    before = found.small_batch(0.0)
    for _ in range(10):
        found.record(before, 0.2, 0.19)
    assert found.small_batch(0.0) >= before * 0.95


@given(batches)
def test_a_model_is_plausible_whatever_was_measured(measured: list[tuple[int, float, float]]) -> None:
    learner = WaitLearner()
    for keys, wait, fork in measured:
        learner.record(keys, wait, fork)
    assert 0.002 <= learner.model.base <= 0.05
    assert 0.1e-6 <= learner.model.per_key <= 20e-6


@given(
    sizes=st.lists(st.integers(1, 200_000), max_size=60),
    seconds=st.lists(st.floats(0, 0.1), min_size=1, max_size=20),
)
def test_commands_carry_every_key_once_and_stay_within_their_limits(sizes: list[int], seconds: list[float]) -> None:
    keys = [str(number).encode() for number in range(len(sizes))]
    by_key = dict(zip(keys, sizes, strict=True))
    found = KeyBatchSizer()
    moved: list[bytes] = []
    for number, batch in enumerate(found.batches(keys, by_key)):
        assert 1 <= len(batch) <= 10
        assert len(batch) == 1 or sum(by_key[key] for key in batch) <= LARGE_BYTES
        moved += batch
        found.record(seconds[number % len(seconds)])
        assert 1 <= found.keys <= 10
    assert moved == keys


def test_slow_commands_carry_fewer_keys_and_fast_ones_more() -> None:
    found = KeyBatchSizer()
    before = found.keys
    found.record(0.01)
    assert found.keys == before // 2
    found.record(0.0005)
    assert found.keys == before


@given(st.integers(1, 100_000), st.integers(1, 1_000_000))
def test_the_last_batch_of_a_range_is_not_small(keys: int, remaining: int) -> None:
    """Neither has the range more batches for it, nor is one of them larger."""
    sizes, left = [], remaining
    while left:
        sizes.append(min(without_small_rest(keys, left), left))
        left -= sizes[-1]
    assert len(sizes) == -(-remaining // keys)
    assert max(sizes) <= keys
    assert min(sizes) * 2 >= min(keys, remaining)
