"""The slot plan's invariants, for any cluster that can come about by scaling."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachewright.valkey.slots import (
    SLOTS,
    Move,
    SlotRange,
    cut,
    even_split,
    merged,
    overlap,
    plan_moves,
    require_full_cover,
    slots_of,
)

Owned = dict[str, list[SlotRange]]


def names(count: int) -> list[str]:
    return [f"node{number:02}" for number in range(count)]


def carried_out(owned: Owned, moves: Sequence[Move]) -> Owned:
    """Who owns what after the moves; fails if a source does not own what it is to give."""
    after = {
        node: {slot for part in parts for slot in range(part.first, part.last + 1)} for node, parts in owned.items()
    }
    for move in moves:
        slots = set(range(move.range.first, move.range.last + 1))
        assert slots <= after[move.source], f"{move.source} does not own {move.range}"
        after[move.source] -= slots
        after.setdefault(move.target, set()).update(slots)
    return {node: merged(SlotRange(slot, slot) for slot in slots) for node, slots in after.items()}


def count(parts: Sequence[SlotRange]) -> int:
    return sum(len(part) for part in parts)


def fewest(owned: Owned, staying: Sequence[str]) -> int:
    """By arithmetic alone: the least number of slots that must leave their owner."""
    share, odd = divmod(SLOTS, len(staying))
    sizes = sorted((count(owned.get(node, [])) for node in staying), reverse=True)
    kept = sum(min(size, share + (position < odd)) for position, size in enumerate(sizes))
    return SLOTS - kept


@given(st.integers(1, 64), st.integers(1, 64))
def test_every_slot_is_owned_once_and_balanced_and_the_fewest_move(start: int, end: int) -> None:
    owned: Owned = {node: [part] for node, part in even_split(names(start)).items()}
    check(owned, names(end))


@given(st.lists(st.integers(1, 64), min_size=2, max_size=4))
def test_a_cluster_that_was_scaled_before_keeps_the_invariants(sizes: list[int]) -> None:
    owned: Owned = {node: [part] for node, part in even_split(names(sizes[0])).items()}
    for size in sizes[1:]:
        owned = check(owned, names(size))


@st.composite
def scattered(draw: st.DrawFn) -> Owned:
    """Any partition of the slots into ranges, dealt to any number of nodes."""
    edges = draw(st.sets(st.integers(1, SLOTS - 1), max_size=40))
    bounds = [0, *sorted(edges), SLOTS]
    nodes = names(draw(st.integers(1, 12)))
    owned: Owned = {}
    for first, after in pairwise(bounds):
        owned.setdefault(draw(st.sampled_from(nodes)), []).append(SlotRange(first, after - 1))
    return owned


@given(scattered(), st.sets(st.sampled_from(names(12)), min_size=1))
def test_any_scattered_ownership_keeps_the_invariants(owned: Owned, staying: set[str]) -> None:
    check(owned, sorted(staying))


def check(owned: Owned, staying: Sequence[str]) -> Owned:
    moves = plan_moves(owned, staying)
    after = {node: parts for node, parts in carried_out(owned, moves).items() if parts}
    require_full_cover(after)
    assert set(after) <= set(staying), "a leaving shard keeps slots"
    sizes = [count(after.get(node, [])) for node in staying]
    assert max(sizes) - min(sizes) <= 1, f"not balanced: {sizes}"
    assert sum(len(move.range) for move in moves) == fewest(owned, staying), "more slots move than must"
    assert not {move.source for move in moves} & {move.target for move in moves}, "a shard gives and takes"
    return after


def test_scaling_from_three_to_five_and_back_moves_few_ranges() -> None:
    three: Owned = {node: [part] for node, part in even_split(names(3)).items()}
    out = plan_moves(three, names(5))
    five = carried_out(three, out)
    back = plan_moves(five, names(3))
    assert len(out) == 4
    assert len(back) <= 5


@pytest.mark.parametrize(
    "owned",
    [
        {"a": [SlotRange(0, 100)]},
        {"a": [SlotRange(0, SLOTS - 1)], "b": [SlotRange(5, 6)]},
        {},
    ],
    ids=["a hole", "an overlap", "nothing"],
)
def test_slots_not_owned_exactly_once_are_refused(owned: Owned) -> None:
    with pytest.raises(ValueError, match="owned exactly once"):
        plan_moves(owned, ["a"])


def test_nobody_staying_is_refused() -> None:
    with pytest.raises(ValueError, match="no shard stays"):
        plan_moves({"a": [SlotRange(0, SLOTS - 1)]}, [])


def test_overlap_cuts_and_joins() -> None:
    assert overlap([SlotRange(0, 9), SlotRange(10, 19), SlotRange(30, 39)], SlotRange(5, 32)) == [
        SlotRange(5, 19),
        SlotRange(30, 32),
    ]


@given(
    first=st.integers(0, 50),
    size=st.integers(0, 50),
    most=st.integers(1, 40),
    data=st.data(),
)
def test_pieces_are_the_same_slots_within_the_limit(first: int, size: int, most: int, data: st.DataObject) -> None:
    whole = SlotRange(first, first + size)
    keys = {slot: data.draw(st.integers(0, 20)) for slot in slots_of([whole])}
    pieces = cut([whole], keys, most)
    assert [slot for piece in pieces for slot in slots_of([piece])] == slots_of([whole])
    assert all(len(piece) == 1 or sum(keys[slot] for slot in slots_of([piece])) <= most for piece in pieces)
