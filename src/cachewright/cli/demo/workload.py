"""Operations of one traffic worker, and its record of acknowledged writes.

A worker writes only its own keys, so it knows the content of each: a missing acknowledged write, or a read older than
the last acknowledged write, counts as lost. A write that ended in an error may or may not have happened; it does not
count as acknowledged, and the client may have repeated it.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import cast

import msgspec
from valkey.cluster import ValkeyCluster

from cachewright.cli.demo.content import DataSet, Kind, key, text
from cachewright.cli.demo.slot_client import SlotClient

_OVERWRITTEN_KEYS = 50
_COUNTERS = 20
_WRITTEN_BYTES = 100
_EXAMPLES = 5


class WrongAnswer(Exception):
    """A reply of the cache contradicts an acknowledged write."""


class Acknowledged(msgspec.Struct, frozen=True, kw_only=True):
    """A key with its expected content, exactly `value` or a number of at least `at_least`; stands for `writes`."""

    key: bytes
    value: bytes | None = None
    at_least: int = 0
    writes: int = 1

    def lost(self, found: object) -> int:
        """Number of acknowledged writes that are missing in `found`."""
        if self.value is not None:
            return int(found != self.value)
        number = int(found) if isinstance(found, bytes) else 0
        return min(max(self.at_least - number, 0), self.writes)


class ReadBack(msgspec.Struct, frozen=True, kw_only=True):
    """Result of reading back acknowledged writes."""

    acknowledged: int
    lost: int
    examples: tuple[str, ...] = ()


class Worker:
    def __init__(self, client: ValkeyCluster, number: int, data: DataSet) -> None:
        self._client = client
        self._number = number
        self._data = data
        self._turn = number  # workers are not all at the same point of the cycle
        self._written = 0
        self._unsure: set[int] = set()
        self._overwrites = 0
        self._overwritten: dict[int, tuple[int, int]] = {}  # the last number acknowledged, and how many were
        self._counted: dict[int, tuple[int, int]] = {}  # the last count answered, and how many were
        self._cycle: tuple[Callable[[], None], ...] = (
            self._write,
            self._read_data,
            self._count,
            self._read_written,
            self._overwrite,
            self._read_data,
            self._write,
            self._read_overwritten,
            self._count,
            self._read_written,
        )

    def act(self) -> None:
        """Perform the next operation. Raises errors of the client library, or WrongAnswer."""
        self._turn += 1
        self._cycle[self._turn % len(self._cycle)]()

    def acknowledged(self) -> Iterator[Acknowledged]:
        for number in range(self._written):
            if number not in self._unsure:
                yield Acknowledged(key=self._key(b"w", number), value=self._value(number))
        for number, (last, writes) in self._overwritten.items():
            yield Acknowledged(key=self._key(b"o", number), at_least=last, writes=writes)
        for number, (_, writes) in self._counted.items():
            yield Acknowledged(key=self._key(b"c", number), at_least=writes, writes=writes)

    def _write(self) -> None:
        number = self._written
        self._written += 1
        self._unsure.add(number)
        self._client.set(self._key(b"w", number), self._value(number))
        self._unsure.remove(number)

    def _read_written(self) -> None:
        number = self._turn * 7919 % max(self._written, 1)
        if self._written and number not in self._unsure:
            self._require(Acknowledged(key=self._key(b"w", number), value=self._value(number)))

    def _overwrite(self) -> None:
        self._overwrites += 1
        number = self._overwrites % _OVERWRITTEN_KEYS
        self._client.set(self._key(b"o", number), self._overwrites)
        self._overwritten[number] = (self._overwrites, self._overwritten.get(number, (0, 0))[1] + 1)

    def _read_overwritten(self) -> None:
        number = self._overwrites % _OVERWRITTEN_KEYS
        last, writes = self._overwritten.get(number, (0, 0))
        self._require(Acknowledged(key=self._key(b"o", number), at_least=last, writes=writes))

    def _count(self) -> None:
        number = self._turn % _COUNTERS
        last, writes = self._counted.get(number, (0, 0))
        name = self._key(b"c", number)
        answered = cast(int, self._client.incr(name))
        self._counted[number] = (max(answered, last), writes + 1)
        if answered <= last:
            raise WrongAnswer(f"{name.decode()} counts {answered} after {last}")

    def _read_data(self) -> None:
        number = (self._turn * 104729 + self._number * 1299709) % self._data.keys
        while self._data.kind(number) is not Kind.TEXT:
            number = (number + 1) % self._data.keys
        self._require(Acknowledged(key=key(number), value=self._data.content(number)[0]))

    def _require(self, expected: Acknowledged) -> None:
        if expected.lost(self._client.get(expected.key)):
            raise WrongAnswer(f"{expected.key.decode()} does not hold the acknowledged value")

    def _key(self, kind: bytes, number: int) -> bytes:
        return b"traffic:%b:%d:%d" % (kind, self._number, number)

    def _value(self, number: int) -> bytes:
        return text(self._number * 1_000_000 + number, _WRITTEN_BYTES)


def read_back(slot_client: SlotClient, workers: Iterable[Worker]) -> ReadBack:
    """Read all keys of the workers from the nodes that own them."""
    expected = [item for worker in workers for item in worker.acknowledged()]
    lost, examples = 0, list[str]()
    found = slot_client.replies((item.key, [("GET", item.key)]) for item in expected)
    for item, replies in zip(expected, found, strict=True):
        missing = item.lost(replies[0])
        lost += missing
        if missing and len(examples) < _EXAMPLES:
            examples.append(item.key.decode())
    return ReadBack(acknowledged=sum(item.writes for item in expected), lost=lost, examples=tuple(examples))
