"""The sub-steps that move slots: how long each is expected to take, and what those that have ended teach. Pure.

Effort is counted in bytes: those of the range, and as many more for each piece of it as move in the time that the
piece's begin and end take. So one pace, learnt here, holds for sources that spare their clients and for those that
need not, and for small keys and large ones.

A host moves only so many ranges at full pace (see `MigrationState.turns`); where more lanes than that run side by side
they share it.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

import msgspec

from cachewright.model.tasks import Step
from cachewright.operations.actions.slots import waiting_detail
from cachewright.tasks.plan import SubStepSpec, effort
from cachewright.valkey.migration.batch_size import BatchSizer
from cachewright.valkey.node_load import NodeLoad
from cachewright.valkey.slots import Move, slots_of

MOVE = "move slots"
PACE = "move slots: effort of a turn"
"""Under which the pace is kept; `MOVE` was that of a lane, whatever it moved and however many there were."""

BYTES_PER_SECOND = 100e6  # of one turn, until this installation has moved something itself
_PIECE_BYTES = 5e6  # the fork, the deletion and the waits of a small piece: about a twentieth of a second
_HANDOVER_SECONDS = 0.3  # a node at rest looks at its moves ten times a second
_BUSY_HANDOVER_SECONDS = 0.15  # one that moves small pieces looks more often
_AHEAD_HANDOVER_SECONDS = 0.05  # the source goes on without waiting for anybody
_TELLING_SECONDS = 0.5  # a lane that was over sooner says little of the pace


class Speed(msgspec.Struct, frozen=True, kw_only=True):
    """The expected speed of slot migrations.

    :ivar pace: effort a second of one migration that runs alone.
    :ivar turns: how many migrations the host runs at full pace.
    :ivar protects_clients: sources with clients move small pieces.
    """

    pace: float
    turns: int
    protects_clients: bool = True


def moved_keys(move: Move, load: NodeLoad) -> int:
    return sum(load.keys[slot] for slot in slots_of([move.range]))


def move_specs(moves: Sequence[Move], loads: Mapping[str, NodeLoad], speed: Speed) -> list[SubStepSpec]:
    """Ranges of one source follow each other, since a node snapshots one at a time; sources work side by side."""
    first = {move.source: move for move in reversed(moves)}
    pace = speed.pace / _crowding(len(first), speed.turns)
    return [
        _move_spec(move, loads[move.source], pace, speed.protects_clients, ahead=first[move.source] != move)
        for move in moves
    ]


def learned(step: Step, turns: int) -> float | None:
    """The pace that a step of moves has gone at, all of which have ended; None where it was over too soon to tell. A
    step lasts as long as its slowest lane."""
    totals: dict[str, float] = defaultdict(float)
    seconds: dict[str, float] = defaultdict(float)
    for move in step.sub_steps:
        if move.begin_time is None or move.end_time is None:
            return None
        spared, keys = move.arguments.get("spared", False), move.arguments["keys"]
        totals[move.work.lane] += _effort(move.work.total, keys, move.arguments["bytes_per_key"], spared=spared)
        seconds[move.work.lane] += (move.end_time - move.begin_time) / 1000 - move.work.fixed
    longest = max(seconds.values(), default=0.0)
    if longest < _TELLING_SECONDS:
        return None
    return max(totals.values()) * _crowding(len(totals), turns) / longest


def _move_spec(move: Move, load: NodeLoad, pace: float, protects_clients: bool, *, ahead: bool) -> SubStepSpec:
    keys = moved_keys(move, load)
    size = max(keys * load.bytes_per_key, 1.0)
    spared = load.clients and protects_clients
    fixed = _BUSY_HANDOVER_SECONDS if spared else _AHEAD_HANDOVER_SECONDS if ahead else _HANDOVER_SECONDS
    seconds = _effort(size, keys, load.bytes_per_key, spared=spared) / pace + fixed
    return SubStepSpec(
        name=f"Slot migration. Slots {move.range.first}-{move.range.last}",
        action=MOVE,
        work=effort(move.source, unit="bytes", total=size, seconds=seconds, fixed=fixed),
        arguments={
            "source": move.source,
            "target": move.target,
            "first": move.range.first,
            "last": move.range.last,
            "keys": keys,
            "bytes_per_key": load.bytes_per_key,
            "spared": spared,
        },
        detail=waiting_detail(move.source, move.range, keys),
    )


def _effort(size: float, keys: int, bytes_per_key: float, *, spared: bool) -> float:
    if not spared:
        return size
    at_once, _ = BatchSizer(bytes_per_key).next_batches()
    return size + math.ceil(keys / at_once) * _PIECE_BYTES


def _crowding(lanes: int, turns: int) -> float:
    """How many times as long a lane takes as it would alone."""
    return max(lanes / turns, 1.0)
