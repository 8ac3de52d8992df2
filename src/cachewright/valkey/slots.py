"""Plans of slot ranges that move when the number of shards of a cluster changes. Pure.

Invariants, which property tests check: every slot is always owned by exactly one shard. Afterwards each remaining shard
owns 16384/n slots, rounded up or down, and each removed shard owns none. No plan with the same result moves fewer
slots. No shard is both a source and a target.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

SLOTS = 16384


class SlotRange(msgspec.Struct, frozen=True, order=True):
    """Slots from `first` to `last`, both included."""

    first: int
    last: int

    def __len__(self) -> int:
        return self.last - self.first + 1

    def __contains__(self, slot: object) -> bool:
        return isinstance(slot, int) and self.first <= slot <= self.last


class Move(msgspec.Struct, frozen=True):
    """The move of one contiguous range from one node to another."""

    source: str
    target: str
    range: SlotRange


def plan_moves(owned: Mapping[str, Sequence[SlotRange]], staying: Sequence[str]) -> list[Move]:
    """Return the moves after which the slots are balanced among `staying` and no other node owns slots.

    `owned` are the present slots of each node; it may omit nodes without slots. Raises ValueError if a slot does not
    have exactly one owner, or if `staying` is empty.
    """
    require_full_cover(owned)
    if not staying:
        raise ValueError("no shard stays")
    counts = {node: _count(owned.get(node, ())) for node in staying}
    return min((_moves(owned, goals) for goals in _possible_goals(counts)), key=len)


def _moves(owned: Mapping[str, Sequence[SlotRange]], goals: Mapping[str, int]) -> list[Move]:
    surplus: list[tuple[str, SlotRange]] = []
    deficits: list[tuple[str, int]] = []
    for node in {**dict.fromkeys(owned), **dict.fromkeys(goals)}:
        ranges = merged(owned.get(node, ()))
        excess = _count(ranges) - goals.get(node, 0)
        surplus += [(node, part) for part in _last_slots(ranges, excess)]
        if excess < 0:
            deficits.append((node, -excess))
    return _distribute(surplus, deficits)


def even_split(nodes: Sequence[str]) -> dict[str, SlotRange]:
    """Return the slots of each node of a new cluster: balanced, ascending in the order of the nodes."""
    edges = [SLOTS * position // len(nodes) for position in range(len(nodes) + 1)]
    return {node: SlotRange(edges[i], edges[i + 1] - 1) for i, node in enumerate(nodes)}


def slots_of(ranges: Iterable[SlotRange]) -> list[int]:
    return [slot for part in ranges for slot in range(part.first, part.last + 1)]


def merged(ranges: Iterable[SlotRange]) -> list[SlotRange]:
    """Return the same slots in as few ranges as possible, ascending."""
    joined: list[SlotRange] = []
    for part in sorted(ranges):
        if joined and part.first <= joined[-1].last + 1:
            joined[-1] = SlotRange(joined[-1].first, max(joined[-1].last, part.last))
        else:
            joined.append(part)
    return joined


def cut(ranges: Iterable[SlotRange], keys: Mapping[int, int], most_keys: int) -> list[SlotRange]:
    """Return the same slots in contiguous pieces, ascending. Each has at most `most_keys` keys or is a single slot."""
    pieces: list[SlotRange] = []
    for part in merged(ranges):
        first, held = part.first, 0
        for slot in range(part.first, part.last + 1):
            if slot > first and held + keys[slot] > most_keys:
                pieces.append(SlotRange(first, slot - 1))
                first, held = slot, 0
            held += keys[slot]
        pieces.append(SlotRange(first, part.last))
    return pieces


def overlap(ranges: Iterable[SlotRange], wanted: SlotRange) -> list[SlotRange]:
    """Return the part of `wanted` that is in `ranges`."""
    cut = (SlotRange(max(part.first, wanted.first), min(part.last, wanted.last)) for part in ranges)
    return merged(part for part in cut if part.first <= part.last)


def require_full_cover(owned: Mapping[str, Sequence[SlotRange]]) -> None:
    """Raise ValueError unless each slot has exactly one owner."""
    all_ranges = [part for ranges in owned.values() for part in ranges]
    if _count(all_ranges) != SLOTS or merged(all_ranges) != [SlotRange(0, SLOTS - 1)]:
        raise ValueError("the slots are not owned exactly once")


def _possible_goals(counts: Mapping[str, int]) -> Iterator[dict[str, int]]:
    """Yield possible final numbers of slots of each remaining shard. The remainder of the division goes to the shards
    with the most slots, so that the fewest slots move. Ties are resolved in a different order each time."""
    share, remainder = divmod(SLOTS, len(counts))
    names = list(counts)
    for start in range(len(names)):
        rotated = names[start:] + names[:start]
        # All shards with more slots than the share are equal, and come before the others.
        largest_first = sorted(rotated, key=lambda node: -min(counts[node], share + 1))
        yield {node: share + (position < remainder) for position, node in enumerate(largest_first)}


def _count(ranges: Iterable[SlotRange]) -> int:
    return sum(len(part) for part in ranges)


def _last_slots(ranges: Sequence[SlotRange], count: int) -> list[SlotRange]:
    """Return the highest `count` slots of `ranges`, ascending. Empty if `count` is not positive."""
    taken: list[SlotRange] = []
    for part in reversed(ranges):
        if count <= 0:
            break
        size = min(count, len(part))
        taken.append(SlotRange(part.last - size + 1, part.last))
        count -= size
    return taken[::-1]


def _distribute(surplus: Sequence[tuple[str, SlotRange]], deficits: Sequence[tuple[str, int]]) -> list[Move]:
    """Distribute the surplus. A range goes to a node that needs exactly its number of slots if such a node exists.
    Otherwise it is divided among nodes."""
    moves: list[Move] = []
    needs = dict(deficits)
    for source, part in surplus:
        first = part.first
        while first <= part.last:
            rest = part.last - first + 1
            target = next((node for node, need in needs.items() if need == rest), next(iter(needs)))
            last = min(part.last, first + needs[target] - 1)
            moves.append(Move(source, target, SlotRange(first, last)))
            needs[target] -= last - first + 1
            if not needs[target]:
                del needs[target]
            first = last + 1
    return sorted(moves, key=lambda move: move.range)
