"""What jobs tell the server: their progress and their results."""

import msgspec

from cachewright.backups.manifest import Manifest
from cachewright.backups.spool import Rebuilt


class Opened(msgspec.Struct, frozen=True):
    """What `ReceiveSnapshot` tells in its stages: the node's version, and bytes of its data in memory."""

    server_version: str
    memory: int


class Counted(msgspec.Struct, frozen=True):
    """Progress of `ReceiveSnapshot`: keys of `total`, and bytes."""

    keys: float = 0.0
    total: int = 0
    received: int = 0


class Begun(msgspec.Struct, frozen=True):
    """The moment of a snapshot: the history of the node, and the position in it."""

    replication_id: str
    offset: int


class Received(msgspec.Struct, frozen=True):
    """Result of `ReceiveSnapshot`."""

    size: int
    sha256: str


class Checked(msgspec.Struct, frozen=True):
    """Result of `CheckSnapshot`: number of keys by database."""

    keys: dict[int, int]


class Made(msgspec.Struct, frozen=True):
    """Progress and result of `MakeData`: the finished share, bytes that were written, and keys."""

    share: float = 0.0
    written: int = 0
    keys: int = 0


class Replayed(msgspec.Struct, frozen=True):
    """Progress and result of `ReplayLog`: the finished share, and at the end what is known of the snapshot."""

    share: float = 0.0
    rebuilt: Rebuilt | None = None


class Divided(msgspec.Struct, frozen=True):
    """Progress and result of `DivideSnapshot`: the finished share, and at the end the manifest of the stored snapshot,
    with its key."""

    share: float = 0.0
    manifest: Manifest | None = None


class Linked(msgspec.Struct, frozen=True):
    """Result of `LinkLog`: names of the base and of the increments after it, in order; and bytes of each linked file.

    :ivar has_room: whether the disk has room for another log. :ivar is_full: only the reserve is left, and nothing is
        linked.
    """

    files: tuple[str, ...] = ()
    sizes: dict[str, int] = {}
    has_room: bool = False
    is_full: bool = False


class Latest(msgspec.Struct, frozen=True):
    """Result of `ReadTimes`: epoch seconds, 0 without one."""

    latest: int


class Done(msgspec.Struct, frozen=True):
    """Progress in bytes."""

    done: int = 0
