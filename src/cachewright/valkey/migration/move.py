"""The arguments and the state of a move of one slot range."""

from collections.abc import Callable

import msgspec

from cachewright.model.instances import Node
from cachewright.valkey.access import Access
from cachewright.valkey.client import Valkey
from cachewright.valkey.migration.control import MigrationControl
from cachewright.valkey.migration.range_size import BatchShare, RangeSize
from cachewright.valkey.migration.source_state import MigrationState
from cachewright.valkey.migration.transfer import Transfer, TransferProgress
from cachewright.valkey.slots import SlotRange, overlap
from cachewright.valkey.topology import view


class Next(msgspec.Struct, frozen=True):
    """The range that the same source moves after the current one.

    :ivar size: what is known of its data.
    :ivar report: called with its progress if it moves ahead of its turn.
    """

    target: Node
    part: SlotRange
    size: RangeSize
    report: Callable[[Transfer], None]


class Move(msgspec.Struct, frozen=True, kw_only=True):
    """The move of the slots `part`.

    :ivar size: what is known of the data of the range.
    :ivar stalled_seconds: time without a change of any counter after which the move fails.
    :ivar following: the next range of the source, if there is one.
    :ivar share: how many keys of the task move in small batches; None without its own count.
    :ivar to_new_node: whether clients may not have heard of the target.
    """

    source: Node
    target: Node
    part: SlotRange
    access: Access
    size: RangeSize
    control: MigrationControl
    stalled_seconds: float
    state: MigrationState
    following: Next | None = None
    share: BatchShare | None = None
    to_new_node: bool = False


class RunningMove(msgspec.Struct, kw_only=True):
    """A move with its connections and its progress.

    :ivar exported: total bytes that the source has sent.
    """

    move: Move
    source: Valkey
    target: Valkey
    progress: TransferProgress
    exported: int
    report: Callable[[Transfer], None]

    async def remaining(self, part: SlotRange | None = None) -> list[SlotRange]:
        """Return the slots of the range, or of another one, that the source still owns."""
        owned = (await view(self.source)).members[self.move.source.id].slots
        return overlap(owned, part or self.move.part)
