"""Analyses of an instance for big and for hot keys: which keys are shown. Pure."""

from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

Subject = Literal["big", "hot"]

TYPES = ("string", "list", "set", "zset", "hash", "stream")
"""Types of values whose size is known, in the order of results."""

MOST_OF_TYPE = 20
"""Big keys of each type in a result."""

MOST_HOT = 100
"""Hot keys in a result."""

NEW_KEY_FREQUENCY = 5
"""Counter of a key that was just created (`LFU_INIT_VAL` of Valkey). Keys above it have been used since."""

MOST_KEPT = 100
"""Analyses of one subject that an instance keeps; the oldest is removed for a new one."""


class FoundKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key with its value. Names are data of the instance's owner: do not log them.

    :ivar name: bytes that are no printable text, and backslashes, are written as `\\\\xNN`. Long names are cut, and end
        with a part of their digest.
    :ivar size: bytes of a string, else number of elements.
    :ivar frequency: logarithmic counter of its use, at most 255; None if it was not read.
    :ivar address: `host:port` of the primary of its shard.
    """

    name: str
    type: str
    database: int
    size: int
    address: str
    frequency: int | None = None


class KeyAnalysis(msgspec.Struct, frozen=True, kw_only=True):
    """:ivar id: id of its task.
    :ivar found: those that are found so far.
    """

    id: str
    instance_id: str
    subject: Subject
    created_at: int
    found: tuple[FoundKey, ...] = ()


def chosen(subject: Subject, keys: Iterable[FoundKey]) -> tuple[FoundKey, ...]:
    """Return the keys that a result shows: of each type the biggest first, or the most used first."""
    unique = {(key.address, key.database, key.name): key for key in keys}.values()
    if subject == "hot":
        return tuple(sorted(unique, key=lambda key: (-(key.frequency or 0), key.name))[:MOST_HOT])
    biggest = sorted(unique, key=lambda key: (-key.size, key.name))
    return tuple(key for kind in TYPES for key in [key for key in biggest if key.type == kind][:MOST_OF_TYPE])


def least_sizes(keys: Sequence[FoundKey]) -> tuple[int, ...]:
    """Return for each of TYPES the size above which a key belongs to the result beside `keys`."""
    by_type = [[key.size for key in keys if key.type == kind] for kind in TYPES]
    return tuple(min(sizes) if len(sizes) >= MOST_OF_TYPE else 0 for sizes in by_type)


def least_frequency(keys: Sequence[FoundKey]) -> int:
    """Return the counter above which a key belongs to the result beside `keys`."""
    return min((key.frequency or 0) for key in keys) if len(keys) >= MOST_HOT else NEW_KEY_FREQUENCY


def printable(name: bytes) -> str:
    """Return the name of a key as text."""
    text = name.replace(b"\\", rb"\x5c").decode("utf-8", "backslashreplace")
    return "".join(
        character if character.isprintable() else "".join(f"\\x{byte:02x}" for byte in character.encode())
        for character in text
    )
