"""Forecasts of the three modes of a resize: its duration, and the longest wait of a client.

The waits are learned from batches (`wait_model`) and stored like the pace of migrations, as numbers per second.
"""

from collections.abc import Mapping, Sequence

import msgspec
import sqlalchemy as sa

from cachewright.model.tasks import MODES, MigrationMode, Step
from cachewright.operations.resize.estimate import Speed, batch_keys, move_specs, moved_keys
from cachewright.operations.resize.plan import ResizePlan
from cachewright.store import throughput
from cachewright.tasks.plan import build
from cachewright.tasks.progress import planned_seconds
from cachewright.valkey.migration.batch_size import LARGE_KEYS
from cachewright.valkey.migration.key_batches import LARGE_BYTES
from cachewright.valkey.migration.wait_model import WaitLearner, WaitModel
from cachewright.valkey.node_load import NodeLoad

_HANDOVERS, _HANDED_OVER = "wait for a batch: batches", "wait for a batch: keys"
_FEWEST_BATCHES = 5
"""A model of fewer batches is not stored."""

_GENTLE_SECONDS = 0.008
"""Longest wait of a client of a source that moves keys one by one."""


class ModeForecast(msgspec.Struct, frozen=True, kw_only=True):
    """:ivar seconds: duration of the resize.
    :ivar longest_wait: of a client that uses a source, in seconds.
    """

    mode: MigrationMode
    seconds: float
    longest_wait: float


def modes(
    plan: ResizePlan, loads: Mapping[str, NodeLoad], speed: Speed, planned: Sequence[Step]
) -> tuple[ModeForecast, ...]:
    """Return a forecast of each mode. `planned` are the steps in the mode of `speed`; only moves differ."""
    others = planned_seconds(planned) - _move_seconds(plan, loads, speed)
    return tuple(_forecast(plan, loads, msgspec.structs.replace(speed, mode=mode), others) for mode in MODES)


def store_waits(connection: sa.Connection, waits: WaitLearner) -> None:
    """Store what was learned."""
    if waits.batches >= _FEWEST_BATCHES:
        throughput.learn(connection, _HANDOVERS, 1 / waits.model.base)
        throughput.learn(connection, _HANDED_OVER, 1 / waits.model.per_key)


def load_waits(connection: sa.Connection, waits: WaitLearner) -> None:
    """Start from what was stored."""
    batches, keys = throughput.get(connection, _HANDOVERS), throughput.get(connection, _HANDED_OVER)
    if batches and keys:
        waits.start_from(WaitModel(base=1 / batches, per_key=1 / keys))


def _move_seconds(plan: ResizePlan, loads: Mapping[str, NodeLoad], speed: Speed) -> float:
    return planned_seconds(build("forecast", {"moves": move_specs(plan.moves, loads, speed)}))


def _forecast(plan: ResizePlan, loads: Mapping[str, NodeLoad], speed: Speed, others: float) -> ModeForecast:
    waits = [_longest_wait(loads[move.source], moved_keys(move, loads[move.source]), speed) for move in plan.moves]
    return ModeForecast(
        mode=speed.mode,
        seconds=_move_seconds(plan, loads, speed) + others,
        longest_wait=max(waits, default=0.0),
    )


def _longest_wait(load: NodeLoad, keys: int, speed: Speed) -> float:
    if speed.mode == "gentle" and load.bytes_per_key <= LARGE_BYTES:
        return _GENTLE_SECONDS
    at_once = LARGE_KEYS if speed.mode == "fastest" else batch_keys(load, speed.waits)
    return speed.waits.longest(min(keys, at_once), load.fork)
