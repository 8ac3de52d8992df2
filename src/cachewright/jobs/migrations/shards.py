"""The parts of a source, and arguments of the sub-steps that work on them. Pure."""

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


class SyncGateway(msgspec.Struct, frozen=True):
    shard: Shard


class CopyShard(msgspec.Struct, frozen=True):
    """:ivar detach: end with the source as it is when the copy ends.
    :ivar direct: copy from the source itself, which cannot be replicated.
    """

    shard: Shard
    detach: bool
    direct: bool = False


class FollowSource(msgspec.Struct, frozen=True):
    shards: tuple[Shard, ...]


class ImportedFile(msgspec.Struct, frozen=True):
    """A file of an import, as the plan has found it.

    :ivar number: of its gateway. :ivar size: bytes.
    :ivar slots: first and last slot of each range whose keys are imported.
    """

    number: int
    name: str
    size: int
    slots: tuple[tuple[int, int], ...] = ALL_SLOTS


class FetchFile(msgspec.Struct, frozen=True):
    file: ImportedFile


class ImportFile(msgspec.Struct, frozen=True):
    file: ImportedFile


Part = SyncGateway | CopyShard | FollowSource | FetchFile | ImportFile
"""Arguments of a sub-step that runs on the host of the gateways."""
