"""How long moves of slots are expected to take."""

from itertools import count

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachewright.model.tasks import MODES, MigrationMode
from cachewright.operations.resize.cost_model import Host, estimated, move_specs
from cachewright.tasks.plan import SubStepSpec, build
from cachewright.tasks.progress import planned_seconds
from cachewright.valkey.node_load import LargeData, NodeLoad
from cachewright.valkey.slots import Move, SlotRange

KEYS = 1_000_000
ONE_TURN = Host(turns=1)


def moves(lanes: int, ranges: int = 1) -> list[Move]:
    slots = count()
    return [
        Move(f"source {lane}", f"target {place}", SlotRange(slot, slot))
        for lane in range(lanes)
        for place, slot in zip(range(ranges), slots, strict=False)
    ]


def load_of(
    moves: list[Move], *, clients: bool = False, keys: int = KEYS, per_key: float = 250.0, elements: int = 0
) -> NodeLoad:
    large = {move.range.first: LargeData(elements * 100.0, elements) for move in moves if elements}
    return NodeLoad(0, per_key, {move.range.first: keys for move in moves}, clients, large=large)


def planned(moves: list[Move], host: Host = ONE_TURN, **load: object) -> list[SubStepSpec]:
    of_all = load_of(moves, **load)  # type: ignore[arg-type]  # as given there
    return move_specs(moves, {move.source: of_all for move in moves}, host, {"target 1"})


def seconds(made: list[SubStepSpec]) -> float:
    return planned_seconds(build("task", {"Data migration.": made}))


def mode_of(mode: MigrationMode) -> Host:
    return Host(turns=1, mode=mode)


def test_sources_share_the_processors_of_the_host() -> None:
    alone, four = moves(1), moves(4)
    (latency,) = {spec.work.latency for spec in planned(four)}
    assert 0 < latency < seconds(planned(alone)) / 2
    assert seconds(planned(four)) == pytest.approx(4 * (seconds(planned(alone)) - latency)), "others work meanwhile"
    assert seconds(planned(four, Host(turns=4))) == pytest.approx(seconds(planned(alone)))
    assert seconds(planned(alone, Host(turns=4))) == pytest.approx(seconds(planned(alone)))


def test_each_mode_takes_longer_than_the_one_before_for_sources_with_clients() -> None:
    in_modes = [seconds(planned(moves(1), mode_of(mode), clients=True)) for mode in MODES]
    assert in_modes == sorted(in_modes)
    assert len(set(in_modes)) == len(MODES)
    fastest, *others = [seconds(planned(moves(1), mode_of(mode))) for mode in MODES]
    assert fastest < in_modes[0], "clients need the thread that deletes keys"
    assert others[0] == pytest.approx(others[1]), "without clients, gentle is like balanced"
    assert fastest <= others[0] < in_modes[1]


def test_what_makes_rates_differ_is_in_their_names() -> None:
    old, new = planned(moves(1, ranges=2), clients=True)
    (idle,) = planned(moves(1))
    assert old.work.rate == "move slots: balanced"
    assert new.work.rate == "move slots: balanced, new target"
    assert idle.work.rate == "move slots: fastest"
    (busy,) = planned(moves(1), mode_of("fastest"), clients=True)
    assert busy.work.rate == "move slots: fastest, clients"
    assert old.work_in_modes["fastest"].rate == "move slots: fastest, clients"


def test_clients_that_come_and_go_make_a_mean_of_both_ways() -> None:
    host = msgspec.structs.replace(ONE_TURN, small_share=0.3, small_share_without=0.1)
    always, mostly, rarely, never = (
        seconds(planned(moves(1), at, clients=clients))
        for at, clients in ((ONE_TURN, True), (host, True), (host, False), (ONE_TURN, False))
    )
    assert always > mostly > rarely > never
    assert mostly == pytest.approx(0.3 * always + 0.7 * never, rel=0.05)
    (spec,) = planned(moves(1), host, clients=True)
    assert spec.work.rate == "move slots: fastest", "most keys move in large batches"


def test_small_batches_are_as_large_as_in_earlier_tasks() -> None:
    def keys_of(host: Host, per_key: float = 250.0) -> list[int]:
        return [
            spec.arguments["small_batches"]["keys"]
            for spec in planned(moves(1, 2), host, clients=True, per_key=per_key)
        ]

    learned = msgspec.structs.replace(ONE_TURN, small_batches={True: 30_000.0, False: 40_000.0})
    assert keys_of(learned) == [40_000, 30_000]
    assert keys_of(ONE_TURN)[0] not in {30_000, 40_000}
    of_large_keys = keys_of(learned, per_key=250_000.0)
    assert all(keys < 200 for keys in of_large_keys), "the data has changed: a batch has at most 32 MB"


def test_elements_of_a_large_value_take_their_time() -> None:
    (plain,) = moves(1)
    giant = load_of([plain], elements=2_000_000)
    assert estimated(plain, giant, ONE_TURN).seconds > estimated(plain, load_of([plain]), ONE_TURN).seconds + 1
    assert estimated(plain, giant, ONE_TURN).size.large[plain.range.first].worth > KEYS / 2
    (spec,) = planned([plain], elements=2_000_000)
    assert spec.work.total == pytest.approx(KEYS * 250 + 2e8)


@given(keys=st.integers(0, 10**8), per_key=st.floats(1, 1e7), mode=st.sampled_from(MODES), clients=st.booleans())
def test_costs_are_positive(keys: int, per_key: float, mode: MigrationMode, clients: bool) -> None:
    (move,) = moves(1)
    cost = estimated(move, load_of([move], keys=keys, per_key=per_key, clients=clients), mode_of(mode))
    assert cost.seconds > 0
    assert cost.size.small_batches.batch > 0
    assert cost.size.large_batches.deletion >= 0


@given(keys=st.integers(1, 10**7), more=st.integers(1, 10**7), mode=st.sampled_from(MODES))
def test_more_keys_take_longer(keys: int, more: int, mode: MigrationMode) -> None:
    host = mode_of(mode)
    fewer, many = (planned(moves(1), host, keys=number, clients=True) for number in (keys, keys + more))
    assert seconds(fewer) < seconds(many)
