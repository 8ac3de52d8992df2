"""Generated data set: the number of a key determines its name, commands and content. Pure.

Loading and checking generate the same data, so no copy is kept. The first keys are collections of several MB. Of the
others, 70 % are strings of 200 bytes, 10 % such strings with an expiry time, the rest small hashes, lists and sorted
sets.
"""

import hashlib
from collections.abc import Iterator, Sequence
from enum import Enum, auto

import msgspec

Command = tuple[bytes | str | int, ...]
Reply = bytes | int | list["Reply"] | None

ELEMENT_BYTES = 200
_CHUNK = 1000
_POOL = hashlib.shake_256(b"cachewright").digest(1 << 17)
_MEMORY_PER_KEY = 420
_MEMORY_PER_ELEMENT = 350


class Kind(Enum):
    TEXT = auto()
    EXPIRING = auto()
    HASH = auto()
    LIST = auto()
    SORTED = auto()
    SET = auto()


_LARGE = (Kind.HASH, Kind.LIST, Kind.SET, Kind.SORTED)
_SMALL = (
    *(Kind.TEXT,) * 7,
    Kind.EXPIRING,
    Kind.HASH,
    Kind.LIST,
    *(Kind.TEXT,) * 7,
    Kind.EXPIRING,
    Kind.HASH,
    Kind.SORTED,
)


class DataSet(msgspec.Struct, frozen=True, kw_only=True):
    """Keys of a data set.

    :ivar expires_at: expiry time of expiring keys, epoch seconds.
    :ivar large_bytes: size of each large collection.
    """

    keys: int
    expires_at: int
    large_bytes: int = 4 * 1024 * 1024

    @property
    def memory(self) -> int:
        """Upper estimate of the memory in the cache, bytes."""
        return self.keys * _MEMORY_PER_KEY + len(_LARGE) * self._large_count * _MEMORY_PER_ELEMENT

    @property
    def _large_count(self) -> int:
        return self.large_bytes // ELEMENT_BYTES

    def kind(self, number: int) -> Kind:
        return _LARGE[number] if number < len(_LARGE) else _SMALL[number % len(_SMALL)]

    def content(self, number: int) -> list[bytes]:
        """The value of a string, or the elements of a collection in write order."""
        if self.kind(number) in {Kind.TEXT, Kind.EXPIRING}:
            return [text(number, ELEMENT_BYTES)]
        count, size = (self._large_count, ELEMENT_BYTES) if number < len(_LARGE) else (6, 40)
        return [text(number * 31 + position, size) for position in range(count)]

    def writes(self, number: int) -> Iterator[Command]:
        """Commands that create the key."""
        name, content = key(number), self.content(number)
        match self.kind(number):
            case Kind.TEXT:
                yield ("SET", name, content[0])
            case Kind.EXPIRING:
                yield ("SET", name, content[0], "EXAT", self.expires_at)
            case Kind.HASH:
                for start, part in _chunks(content):
                    yield ("HSET", name, *_interleaved([b"f%d" % (start + at) for at in range(len(part))], part))
            case Kind.LIST:
                for _, part in _chunks(content):
                    yield ("RPUSH", name, *part)
            case Kind.SORTED:
                for start, part in _chunks(content):
                    yield ("ZADD", name, *_interleaved([b"%d" % (start + at) for at in range(len(part))], part))
            case Kind.SET:
                for _, part in _chunks(content):
                    yield ("SADD", name, *part)

    def reads(self, number: int) -> list[Command]:
        """Commands that read the key back."""
        name = key(number)
        match self.kind(number):
            case Kind.TEXT:
                return [("GET", name)]
            case Kind.EXPIRING:
                return [("GET", name), ("EXPIRETIME", name)]
            case Kind.HASH:
                return [("HGETALL", name)]
            case Kind.LIST:
                return [("LRANGE", name, 0, -1)]
            case Kind.SORTED:
                return [("ZRANGE", name, 0, -1, "WITHSCORES")]
            case Kind.SET:
                return [("SMEMBERS", name)]

    def matches(self, number: int, replies: Sequence[Reply]) -> bool:
        """Whether the replies to `reads` equal the written content, including the expiry time."""
        content = self.content(number)
        found: object = replies[0]
        expected: object = content
        match self.kind(number):
            case Kind.TEXT:
                expected = content[0]
            case Kind.EXPIRING:
                found, expected = list(replies), [content[0], self.expires_at]
            case Kind.SET:
                found, expected = _unordered(replies[0], 1), _unordered([*content], 1)
            case Kind.SORTED:
                expected = _interleaved(content, [b"%d" % score for score in range(len(content))])
            case Kind.HASH:
                names = [b"f%d" % position for position in range(len(content))]
                found, expected = _unordered(replies[0], 2), _unordered([*_interleaved(names, content)], 2)
        return found == expected


def key(number: int) -> bytes:
    return b"data:%d" % number


def missing(replies: Sequence[Reply]) -> bool:
    """Whether the first reply means that the key does not exist."""
    return replies[0] is None or replies[0] == []


def text(seed: int, size: int) -> bytes:
    """Bytes generated from a seed, different for each seed."""
    head = b"%016d" % seed
    offset = seed * 7919 % (len(_POOL) - size)
    return head + _POOL[offset : offset + size - len(head)]


def _chunks(content: list[bytes]) -> Iterator[tuple[int, list[bytes]]]:
    for start in range(0, len(content), _CHUNK):
        yield start, content[start : start + _CHUNK]


def _interleaved(left: list[bytes], right: list[bytes]) -> list[bytes]:
    return [item for pair in zip(left, right, strict=True) for item in pair]


def _unordered(reply: Reply, width: int) -> list[list[Reply]]:
    """Items of a list reply in groups of `width`, sorted; empty for any other reply."""
    items = reply if isinstance(reply, list) else []
    return sorted((items[at : at + width] for at in range(0, len(items), width)), key=repr)
