"""Durations of slot migrations: estimates for a plan, and the pace learned from finished migrations. Pure.

Effort is counted in bytes: the bytes of the range, plus, for each small batch, the bytes that could move in the time
that the batch takes to start and to end. So one pace applies to sources with and without clients to protect, and to
small and large keys. The mode `gentle`, which moves keys one by one, has a pace of its own, in keys.

A host runs only so many migrations at full pace (`MigrationState.concurrency`); more lanes than that share it.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

import msgspec

from cachewright.model.tasks import DEFAULT_MODE, MigrationMode, Step, SubStep
from cachewright.operations.actions.slots import MoveSlots, move_slots, waiting_detail
from cachewright.tasks.plan import SubStepSpec, effort
from cachewright.valkey.migration.batch_size import BatchSizer
from cachewright.valkey.migration.wait_model import WaitLearner, WaitModel
from cachewright.valkey.node_load import NodeLoad
from cachewright.valkey.slots import Move, slots_of

MOVE = move_slots.name
PACE = "move slots: effort of a turn"
"""The key of the learned pace in the store. The key "move slots" of early releases held the pace of a whole lane."""

KEY_PACE = "move slots: keys one by one"
"""The key of the learned pace of the mode `gentle`."""

BYTES_PER_SECOND = 100e6  # of one migration, until this installation has learned its own pace
KEYS_PER_SECOND = 7_000.0  # of the mode `gentle`, until this installation has learned its own pace
_BATCH_BYTES = 5e6  # the fork, the deletion and the waits of a small batch: about a twentieth of a second
_HANDOVER_SECONDS = 0.3  # an idle node checks its migrations ten times a second
_BUSY_HANDOVER_SECONDS = 0.15  # a node that moves small batches checks more often
_AHEAD_HANDOVER_SECONDS = 0.05  # the source has started the range before the last one ended
_TELLING_SECONDS = 0.5  # shorter lanes give no reliable pace


class Speed(msgspec.Struct, frozen=True, kw_only=True):
    """The expected speed of slot migrations.

    :ivar pace: effort per second of one migration that runs alone.
    :ivar turns: how many migrations the host runs at full pace.
    :ivar key_pace: keys per second of one migration in the mode `gentle` that runs alone.
    :ivar mode: how slots of sources with clients move.
    :ivar waits: how long clients wait for a batch.
    """

    pace: float
    turns: int
    key_pace: float = KEYS_PER_SECOND
    mode: MigrationMode = DEFAULT_MODE
    waits: WaitModel = WaitModel()


def moved_keys(move: Move, load: NodeLoad) -> int:
    """The number of keys in a range. `load` is of its source."""
    return sum(load.keys[slot] for slot in slots_of([move.range]))


def move_specs(moves: Sequence[Move], loads: Mapping[str, NodeLoad], speed: Speed) -> list[SubStepSpec]:
    """One sub-step for each move. Ranges of one source share a lane, because a node makes one snapshot at a time;
    sources work concurrently."""
    first = {move.source: move for move in reversed(moves)}
    crowding = _crowding(len(first), speed.turns)
    alone = msgspec.structs.replace(speed, pace=speed.pace / crowding, key_pace=speed.key_pace / crowding)
    return [_move_spec(move, loads[move.source], alone, ahead=first[move.source] != move) for move in moves]


def batch_keys(load: NodeLoad, waits: WaitModel) -> int:
    """The number of keys in a small batch."""
    return BatchSizer(load.bytes_per_key, WaitLearner(waits)).small_batch(load.fork)


def learned(step: Step, turns: int, waits: WaitModel) -> float | None:
    """The pace of a step whose migrations have all ended; None if it was too short for a measurement. A step lasts as
    long as its slowest lane."""

    def effort_of(move: SubStep) -> float:
        protected, arguments = move.arguments.get("spared", False), move.arguments
        at_once = batch_keys(NodeLoad(0, arguments["bytes_per_key"], {}, protected, arguments.get("fork", 0.0)), waits)
        return _effort(move.work.total, arguments["keys"], at_once, protected=protected)

    return _pace(step, turns, effort_of)


def learned_by_key(step: Step, turns: int) -> float | None:
    """The pace of a step in the mode `gentle` like `learned`; None also if some sources had no clients."""
    if not all(move.arguments.get("spared", False) for move in step.sub_steps):
        return None
    return _pace(step, turns, lambda move: float(move.arguments["keys"])) or None


def _pace(step: Step, turns: int, effort_of: Callable[[SubStep], float]) -> float | None:
    """Effort per second of one migration that runs alone."""
    totals: dict[str, float] = defaultdict(float)
    seconds: dict[str, float] = defaultdict(float)
    for move in step.sub_steps:
        if move.begin_time is None or move.end_time is None:
            return None
        totals[move.work.lane] += effort_of(move)
        seconds[move.work.lane] += (move.end_time - move.begin_time) / 1000 - move.work.fixed
    longest = max(seconds.values(), default=0.0)
    if longest < _TELLING_SECONDS:
        return None
    return max(totals.values()) * _crowding(len(totals), turns) / longest


def _move_spec(move: Move, load: NodeLoad, speed: Speed, *, ahead: bool) -> SubStepSpec:
    keys = moved_keys(move, load)
    size = max(keys * load.bytes_per_key, 1.0)
    protected = load.clients and speed.mode != "fastest"
    fixed = _BUSY_HANDOVER_SECONDS if protected else _AHEAD_HANDOVER_SECONDS if ahead else _HANDOVER_SECONDS
    seconds = _effort(size, keys, batch_keys(load, speed.waits), protected=protected) / speed.pace + fixed
    if protected and speed.mode == "gentle":
        seconds = keys / speed.key_pace + size / speed.pace + fixed
    arguments = MoveSlots(
        source=move.source,
        target=move.target,
        first=move.range.first,
        last=move.range.last,
        keys=keys,
        bytes_per_key=load.bytes_per_key,
        spared=protected,
        fork=load.fork,
    )
    return move_slots.sub_step(
        f"Slot migration. Slots {move.range.first}-{move.range.last}",
        effort(move.source, unit="bytes", total=size, seconds=seconds, fixed=fixed),
        arguments,
        detail=waiting_detail(move.source, move.range, keys),
    )


def _effort(size: float, keys: int, at_once: int, *, protected: bool) -> float:
    """Effort of a range of `size` bytes. `protected` migrations move in batches of `at_once` keys."""
    if not protected:
        return size
    return size + math.ceil(keys / at_once) * _BATCH_BYTES


def _crowding(lanes: int, turns: int) -> float:
    """Factor by which concurrent lanes slow each other down."""
    return max(lanes / turns, 1.0)
