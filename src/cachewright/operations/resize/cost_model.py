"""What a move of slots costs, in seconds, and the sub-steps that state it. Pure.

A range moves in batches. Each batch costs a constant time (fork, handshakes, handover), a time for each key and byte
that is copied, a time for each element of a large value, and a time for each key that the source deletes afterwards.
The constants differ by the way in which slots move (`Way`). They hold for one source at a time: `turns` sources run at
full speed, more of them share the host.

The constants are those of one machine. How much faster or slower an installation is, it learns (`tasks.learning`), by
way, by whether the target is a new node, whose memory is still untouched, and by whether clients compete with the mode
`fastest`. Measured in docs/decisions/0049.
"""

from collections.abc import Mapping, Sequence, Set
from typing import Literal

import msgspec
from msgspec.structs import replace

from cachewright.model.tasks import DEFAULT_MODE, MODES, MigrationMode, Work
from cachewright.operations.actions.slots import MoveSlots, move_slots, waiting_detail
from cachewright.tasks.plan import SubStepSpec, effort
from cachewright.valkey.migration.batch_size import BatchSizer, large_batch_keys, most_small_keys
from cachewright.valkey.migration.range_size import BatchCost, LargeValues, RangeSize
from cachewright.valkey.migration.wait_model import WaitLearner, WaitModel
from cachewright.valkey.node_load import NodeLoad
from cachewright.valkey.slots import Move, slots_of

MOVE = move_slots.name

Way = Literal["fastest", "balanced", "gentle"]
"""How slots of a range move. Sources without clients move like `fastest` in every mode."""


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds of a move by itself.

    :ivar start: until the first batch shows progress.
    :ivar batch: of each batch, :ivar batch_a_byte: of each batch for each byte of memory of the source, which forks.
    :ivar key: copy of a key, :ivar byte: of a byte, :ivar element: of an element of a collection, :ivar large_element:
        of an element of a large value, whose hash table grows again and again.
    :ivar deletion: deletion of a key on the source.
    """

    start: float
    batch: float
    key: float
    byte: float
    element: float
    large_element: float
    deletion: float
    batch_a_byte: float = 0.0


_COSTS: Mapping[Way, Cost] = {
    "fastest": Cost(
        start=0.2, batch=0.11, key=0.68e-6, byte=2.45e-9, element=0.25e-6, large_element=1.0e-6, deletion=0.4e-6
    ),
    "balanced": Cost(
        start=0.03,
        batch=0.055,
        key=0.6e-6,
        byte=3.2e-9,
        element=0.14e-6,
        large_element=0.8e-6,
        deletion=0.3e-6,
        batch_a_byte=0.08e-9,
    ),
    "gentle": Cost(start=0.1, batch=0.1, key=50e-6, byte=10e-9, element=0.0, large_element=0.7e-6, deletion=0.0),
}


_FASTEST_WITH_CLIENTS = replace(_COSTS["fastest"], batch=0.17, key=0.8e-6, deletion=0.55e-6)
"""Clients need processors, too, and the thread that deletes keys."""

_SYNC_SECONDS, _SYNC_SECONDS_A_BYTE = 0.6, 12e-9

_FIRST_BATCHES, _FIRST_GROWTH = 4, 1.7
"""Number of small batches of an installation that have the assumed size, and the size of those after them as a multiple
of it: batches become larger as soon as short waits are measured."""


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """What the plan knows of the host, and of the task's way to move slots.

    :ivar turns: number of sources that run at full speed.
    :ivar mode: how slots of sources with clients move.
    :ivar waits: how long clients wait for a batch.
    :ivar small_share: share of the keys that are expected to move in small batches from a source with clients,
        :ivar small_share_without: from one that has none now.
    :ivar small_batches: usual number of keys in a small batch to a node that the task adds, and to another node, as far
        as they are known.
    :ivar keys_with_clients: number of keys that the task moves from sources with clients.
    """

    turns: int
    mode: MigrationMode = DEFAULT_MODE
    waits: WaitModel = WaitModel()
    small_share: float = 1.0
    small_share_without: float = 0.0
    small_batches: Mapping[bool, float] = {}
    keys_with_clients: int = 0


class Estimated(msgspec.Struct, frozen=True, kw_only=True):
    """Estimated cost of one range.

    :ivar way: of most of its keys.
    :ivar seconds: duration of the move, :ivar start: the part of it before a counter increases, :ivar latency: the part
        that hardly uses the processors.
    """

    way: Way
    start: float
    seconds: float
    latency: float
    size: RangeSize


def moved_keys(move: Move, load: NodeLoad) -> int:
    """The number of keys in a range. `load` is of its source."""
    return sum(load.keys[slot] for slot in slots_of([move.range]))


def moved_bytes(move: Move, load: NodeLoad) -> float:
    """The bytes of the keys in a range."""
    large = sum(load.large[slot].bytes for slot in slots_of([move.range]) if slot in load.large)
    return moved_keys(move, load) * load.bytes_per_key + large


def move_specs(
    moves: Sequence[Move], loads: Mapping[str, NodeLoad], host: Host, new_nodes: Set[str] = frozenset()
) -> list[SubStepSpec]:
    """One sub-step for each move. Ranges of one source share a lane, because a node makes one snapshot at a time;
    sources work concurrently. `new_nodes` are the ids of nodes that the task adds."""
    with_clients = [move for move in moves if loads[move.source].clients]
    host = replace(host, keys_with_clients=sum(moved_keys(move, loads[move.source]) for move in with_clients))
    left = {node: float(load.used_memory) for node, load in loads.items()}
    specs = []
    for move in moves:
        load = loads[move.source]
        left[move.source] -= moved_bytes(move, load)
        specs.append(_move_spec(move, load, host, left[move.source], is_new=move.target in new_nodes))
    return specs


def needs_snapshot(load: NodeLoad, host: Host) -> bool:
    """Whether slots leave the node by snapshots, and not key by key."""
    return _way(load, host) != "gentle"


def copy_effort(lane: str, size: int, turns: int = 1) -> Work:
    """The effort of a copy of all data of a node, which uses so much memory, to a new one."""
    return effort(
        lane,
        unit="bytes",
        total=max(size, 1),
        seconds=_SYNC_SECONDS + size * _SYNC_SECONDS_A_BYTE,
        fixed=_SYNC_SECONDS,
        turns=turns,
    )


def batch_keys(load: NodeLoad, waits: WaitModel) -> int:
    """The number of keys in a batch of the way `balanced`."""
    return BatchSizer(load.bytes_per_key, WaitLearner(waits)).small_batch(load.fork)


def _usual_batch_keys(load: NodeLoad, host: Host, *, is_new: bool) -> int:
    """The number of keys in a batch, as it was in earlier tasks. The size at this moment follows the
    last waits and the last fork, so it is far from that of the batches to come."""
    usual = host.small_batches.get(is_new) or _first_batch_keys(load, host)
    return min(round(usual), most_small_keys(load.bytes_per_key))


def _first_batch_keys(load: NodeLoad, host: Host) -> float:
    """The mean number of keys in a batch of the first task."""
    first = batch_keys(load, host.waits)
    if host.waits != WaitModel() or host.keys_with_clients <= _FIRST_BATCHES * first:
        return first
    later = host.keys_with_clients - _FIRST_BATCHES * first
    return host.keys_with_clients / (_FIRST_BATCHES + later / (_FIRST_GROWTH * first))


def estimated(move: Move, load: NodeLoad, host: Host, left: float = 0.0, *, is_new: bool = False) -> Estimated:
    """Estimate the cost of a move.

    :param left: bytes of memory that the source uses after it.
    :param is_new: whether the task adds the target.
    """
    large_cost = _FASTEST_WITH_CLIENTS if load.clients and host.mode == "fastest" else _COSTS["fastest"]
    cost = large_cost if host.mode == "fastest" else _COSTS[host.mode]
    of_key = _key_seconds(cost, load)
    at_once = _usual_batch_keys(load, host, is_new=is_new) if host.mode == "balanced" else large_batch_keys(host.mode)
    large = {
        slot: LargeValues(
            bytes=load.large[slot].bytes,
            worth=(cost.large_element * load.large[slot].elements + cost.byte * load.large[slot].bytes) / of_key,
        )
        for slot in slots_of([move.range])
        if slot in load.large
    }
    size = RangeSize(
        keys=moved_keys(move, load),
        bytes_per_key=load.bytes_per_key,
        large=large,
        small_batches=replace(_batch_cost(cost, load, at_once, of_key, left), sizes_vary=host.mode == "balanced"),
        large_batches=_batch_cost(large_cost, load, large_batch_keys(host.mode), of_key, left),
        small_share=_small_share(load, host),
    )
    way = _way(load, host)
    start = _COSTS[way].start
    latency = start + large_cost.batch if way == "fastest" else 0.0
    return Estimated(way=way, start=start, seconds=start + size.work * of_key, latency=latency, size=size)


def _way(load: NodeLoad, host: Host) -> Way:
    """Return how most keys of a node move."""
    return host.mode if _small_share(load, host) > 1 / 2 else "fastest"


def _small_share(load: NodeLoad, host: Host) -> float:
    if host.mode == "fastest":
        return 0.0
    return host.small_share if load.clients else host.small_share_without


def _key_seconds(cost: Cost, load: NodeLoad) -> float:
    """Seconds of the copy of an ordinary key."""
    return cost.key + cost.byte * load.bytes_per_key + cost.element * load.elements_per_key


def _batch_cost(cost: Cost, load: NodeLoad, keys: int, of_key: float, left: float) -> BatchCost:
    """Express a cost in times of `of_key` seconds. `left` are the bytes of the source after the range."""
    return BatchCost(
        keys=keys,
        key=_key_seconds(cost, load) / of_key,
        deletion=cost.deletion / of_key,
        batch=(cost.batch + cost.batch_a_byte * max(left, 0.0)) / of_key,
        batch_a_key=cost.batch_a_byte * load.bytes_per_key / of_key,
    )


def _move_spec(move: Move, load: NodeLoad, host: Host, left: float, *, is_new: bool) -> SubStepSpec:
    cost = estimated(move, load, host, left, is_new=is_new)
    size = cost.size
    arguments = MoveSlots(
        source=move.source,
        target=move.target,
        first=move.range.first,
        last=move.range.last,
        spared=load.clients and host.mode != "fastest",
        mode=host.mode,
        keys=size.keys,
        bytes_per_key=size.bytes_per_key,
        large=size.large,
        small_batches=size.small_batches,
        large_batches=size.large_batches,
        small_share=size.small_share,
    )
    spec = move_slots.sub_step(
        f"Slot migration. Slots {move.range.first}-{move.range.last}",
        _work(move, load, host, cost, is_new=is_new),
        arguments,
        detail=waiting_detail(move.source, move.range, size.keys),
    )
    others = [replace(host, mode=mode) for mode in MODES if load.clients and mode != host.mode]
    in_modes = {
        other.mode: _work(move, load, other, estimated(move, load, other, left, is_new=is_new), is_new=is_new)
        for other in others
    }
    return replace(spec, work_in_modes=in_modes)


def _work(move: Move, load: NodeLoad, host: Host, cost: Estimated, *, is_new: bool) -> Work:
    return effort(
        move.source,
        unit="bytes",
        total=max(moved_bytes(move, load), 1.0),
        seconds=cost.seconds,
        fixed=cost.start,
        latency=cost.latency,
        turns=host.turns,
        rate=_rate(cost.way, with_clients=load.clients and host.mode == "fastest", is_new=is_new),
    )


def _rate(way: Way, *, with_clients: bool, is_new: bool) -> str:
    """Return the name of a speed. Clients take processor time from the mode `fastest`; in other modes, the way
    `fastest` is that of sources without clients."""
    return f"{MOVE}: {way}{', clients' if with_clients else ''}{', new target' if is_new else ''}"
