"""How long moves of slots are expected to take, and what those that have ended teach."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachewright.model.tasks import Step, SubStep
from cachewright.operations.resize.estimate import BYTES_PER_SECOND, Speed, learned, learned_by_key, move_specs
from cachewright.tasks.plan import SubStepSpec, build
from cachewright.tasks.progress import planned_seconds
from cachewright.valkey.migration.wait_model import WaitModel
from cachewright.valkey.node_load import NodeLoad
from cachewright.valkey.slots import Move, SlotRange

KEYS, BYTES_PER_KEY = 100_000, 250.0
ONE_TURN = Speed(pace=BYTES_PER_SECOND, turns=1)


def moves(lanes: int, ranges: int = 1) -> list[Move]:
    return [
        Move(f"source {lane}", f"target {place}", SlotRange(slot, slot))
        for lane in range(lanes)
        for place in range(ranges)
        for slot in [lane * ranges + place]
    ]


def planned(
    moves: list[Move], speed: Speed = ONE_TURN, *, clients: bool = False, keys: int = KEYS, per_key: float = 250.0
) -> list[SubStepSpec]:
    load = NodeLoad(0, per_key, {move.range.first: keys for move in moves}, clients)
    return move_specs(moves, {move.source: load for move in moves}, speed)


def step(made: list[SubStepSpec]) -> Step:
    return build("task", {"Data migration.": made})[0]


def seconds(made: list[SubStepSpec]) -> float:
    return planned_seconds([step(made)])


def carried_out(made: list[SubStepSpec], slow: float) -> Step:
    """The plan as it went: what is counted took `slow` times as long as expected, the rest as long as expected."""
    began: dict[str, int] = {}

    def went(sub: SubStep) -> SubStep:
        begin = began.get(sub.work.lane, 1_000_000)
        took = (sub.work.seconds - sub.work.fixed) * slow + sub.work.fixed
        began[sub.work.lane] = end = begin + round(took * 1000)
        return msgspec.structs.replace(sub, status="FINISH", begin_time=begin, end_time=end)

    whole = step(made)
    return msgspec.structs.replace(whole, sub_steps=tuple(went(sub) for sub in whole.sub_steps))


def test_lanes_share_the_processors_that_there_are() -> None:
    alone, crowded = seconds(planned(moves(1))), seconds(planned(moves(4)))
    handover = planned(moves(1))[0].work.fixed
    assert crowded - handover == pytest.approx(4 * (alone - handover))
    assert seconds(planned(moves(4), Speed(pace=BYTES_PER_SECOND, turns=4))) == pytest.approx(alone)
    assert seconds(planned(moves(1), Speed(pace=BYTES_PER_SECOND, turns=4))) == pytest.approx(alone)


def test_a_range_that_is_told_ahead_is_handed_over_sooner() -> None:
    first, second = planned(moves(1, ranges=2))
    assert second.work.fixed < first.work.fixed
    first, second = planned(moves(1, ranges=2), clients=True)
    assert second.work.fixed == first.work.fixed


def test_clients_are_spared_at_the_cost_of_time_unless_the_mode_is_fastest() -> None:
    bare = Speed(pace=BYTES_PER_SECOND, turns=1, mode="fastest")
    sparing, unprotected = planned(moves(1), clients=True), planned(moves(1), bare, clients=True)
    assert seconds(sparing) > seconds(unprotected) == seconds(planned(moves(1)))


def test_keys_that_move_one_by_one_have_their_own_pace() -> None:
    gentle = Speed(pace=BYTES_PER_SECOND, turns=1, key_pace=1_000, mode="gentle")
    made = planned(moves(1), gentle, clients=True)
    assert seconds(made) == pytest.approx(KEYS / 1_000, rel=0.01)
    assert seconds(planned(moves(1), gentle)) < 2, "nobody is disturbed"
    assert learned_by_key(carried_out(made, 2.0), 1) == pytest.approx(500, rel=0.01)
    assert learned_by_key(carried_out(planned(moves(1), gentle, keys=10_000_000), 1.0), 1) is None


def test_sparing_costs_by_the_piece_and_large_keys_come_in_few() -> None:
    size = KEYS * BYTES_PER_KEY
    small = seconds(planned(moves(1), clients=True))
    large = seconds(planned(moves(1), clients=True, keys=100, per_key=size / 100))
    assert small > 1.5 * large


def test_a_range_without_keys_takes_its_handover() -> None:
    (draft,) = planned(moves(1), clients=True, keys=0)
    assert draft.work.total > 0
    assert draft.work.seconds == pytest.approx(draft.work.fixed, abs=0.01)


@given(
    lanes=st.integers(1, 6),
    ranges=st.integers(1, 3),
    turns=st.integers(1, 4),
    clients=st.booleans(),
    slow=st.floats(0.5, 4),
)
def test_a_step_teaches_the_pace_that_would_have_foretold_it(
    lanes: int, ranges: int, turns: int, clients: bool, slow: float
) -> None:
    speed = Speed(pace=BYTES_PER_SECOND, turns=turns)
    went = carried_out(planned(moves(lanes, ranges), speed, clients=clients, keys=1_000_000), slow)
    assert learned(went, turns, WaitModel()) == pytest.approx(BYTES_PER_SECOND / slow, rel=0.01)


def test_the_slowest_lane_is_what_a_step_lasts() -> None:
    went = carried_out(planned(moves(2), keys=1_000_000), 1.0)
    quick, slow = went.sub_steps
    late = msgspec.structs.replace(slow, end_time=(slow.end_time or 0) + 5_000)
    learnt_late = learned(msgspec.structs.replace(went, sub_steps=(quick, late)), 1, WaitModel())
    assert learnt_late == pytest.approx(BYTES_PER_SECOND / 2, rel=0.01)


def test_what_was_over_at_once_or_has_not_ended_teaches_nothing() -> None:
    assert learned(carried_out(planned(moves(3), keys=100), 1.0), 1, WaitModel()) is None
    assert learned(step(planned(moves(3), keys=1_000_000)), 1, WaitModel()) is None
