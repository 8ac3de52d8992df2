"""Forecasts of the three modes of a resize: its duration, and the longest wait of a client.

The waits are learned from batches (`wait_model`) and stored as numbers per second.
"""

from collections.abc import Mapping, Sequence

import msgspec
import sqlalchemy as sa

from cachewright.model.tasks import MODES, MigrationMode, Step
from cachewright.operations.resize.cost_model import Host, batch_keys, move_specs, moved_keys
from cachewright.operations.resize.plan import ResizePlan
from cachewright.store import throughput
from cachewright.tasks.learning import Speed, with_speeds
from cachewright.tasks.plan import build
from cachewright.tasks.progress import planned_seconds
from cachewright.valkey.migration.batch_size import FASTEST_KEYS
from cachewright.valkey.migration.key_batches import LARGE_BYTES
from cachewright.valkey.migration.wait_model import WaitLearner, WaitModel
from cachewright.valkey.node_load import NodeLoad

_HANDOVERS, _HANDED_OVER = "wait for a batch: batches", "wait for a batch: keys"
_FEWEST_BATCHES = 5
"""A model that was learned from fewer batches is not stored."""

_GENTLE_SECONDS = 0.008
"""Longest wait of a client of a source that moves keys one by one."""


class ModeForecast(msgspec.Struct, frozen=True, kw_only=True):
    """Forecast of one mode.

    :ivar seconds: duration of the resize.
    :ivar longest_wait: longest wait of a client that uses a source, in seconds.
    """

    mode: MigrationMode
    seconds: float
    longest_wait: float


def modes(
    plan: ResizePlan,
    loads: Mapping[str, NodeLoad],
    host: Host,
    planned: Sequence[Step],
    speeds: Mapping[str, Speed],
) -> tuple[ModeForecast, ...]:
    """Return a forecast of each mode. `planned` are the steps in the mode of `host`, with `speeds`; in other modes only
    the moves of slots take another time."""
    others = planned_seconds(planned) - _move_seconds(plan, loads, host, speeds)
    hosts = (msgspec.structs.replace(host, mode=mode) for mode in MODES)
    return tuple(
        ModeForecast(
            mode=other.mode,
            seconds=_move_seconds(plan, loads, other, speeds) + others,
            longest_wait=_longest_wait(plan, loads, other),
        )
        for other in hosts
    )


def store_waits(connection: sa.Connection, waits: WaitLearner) -> None:
    """Store the learned model of waits."""
    if waits.batches >= _FEWEST_BATCHES:
        throughput.learn(connection, _HANDOVERS, 1 / waits.model.base)
        throughput.learn(connection, _HANDED_OVER, 1 / waits.model.per_key)


def load_waits(connection: sa.Connection, waits: WaitLearner) -> None:
    """Load the stored model of waits, if there is one."""
    batches, keys = throughput.get(connection, _HANDOVERS), throughput.get(connection, _HANDED_OVER)
    if batches and keys:
        waits.start_from(WaitModel(base=1 / batches, per_key=1 / keys))


def _move_seconds(plan: ResizePlan, loads: Mapping[str, NodeLoad], host: Host, speeds: Mapping[str, Speed]) -> float:
    specs = move_specs(plan.moves, loads, host, {node.id for node in plan.added})
    return planned_seconds(with_speeds(build("forecast", {"moves": specs}), speeds))


def _longest_wait(plan: ResizePlan, loads: Mapping[str, NodeLoad], host: Host) -> float:
    waits = [_wait(loads[move.source], moved_keys(move, loads[move.source]), host) for move in plan.moves]
    return max(waits, default=0.0)


def _wait(load: NodeLoad, keys: int, host: Host) -> float:
    if host.mode == "gentle" and load.bytes_per_key <= LARGE_BYTES:
        return _GENTLE_SECONDS
    at_once = FASTEST_KEYS if host.mode == "fastest" else batch_keys(load, host.waits)
    return host.waits.longest(min(keys, at_once), load.fork)
