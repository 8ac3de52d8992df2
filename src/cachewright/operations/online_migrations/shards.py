"""The parts of a source. Pure."""

import msgspec
from valkey.crc import key_slot

from cachewright.valkey.slots import SLOTS, SlotRange

ALL_SLOTS = ((0, SLOTS - 1),)


class Shard(msgspec.Struct, frozen=True):
    """One primary of the source, as the plan has found it.

    :ivar number: of its gateway.
    :ivar slots: first and last slot of each range that it owns.
    """

    number: int
    slots: tuple[tuple[int, int], ...]

    @property
    def ranges(self) -> tuple[SlotRange, ...]:
        return tuple(SlotRange(*part) for part in self.slots)

    def owns(self, key: bytes) -> bool:
        if self.slots == ALL_SLOTS:
            return True
        slot = key_slot(key)
        return any(first <= slot <= last for first, last in self.slots)
