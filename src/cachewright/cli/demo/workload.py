"""Operations of one traffic worker, and its record of acknowledged writes.

A worker writes only its own keys, so it knows the content of each: a missing acknowledged write, or a read older than
the last acknowledged write, counts as lost. A write that ended in an error may or may not have happened; it does not
count as acknowledged, and the client may have repeated it.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial

import msgspec

from cachewright.cli.demo.content import Command, DataSet, Kind, Reply, key, text
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


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One command for `key`. `accept` records its reply, unless that is an error; it raises WrongAnswer."""

    key: bytes
    command: Command
    writes: bool
    accept: Callable[[Reply], None]


class Worker:
    """Produces one request after another. Before the next one, `accept` must have had the reply, unless that is an
    error."""

    def __init__(self, number: int, data: DataSet) -> None:
        self._number = number
        self._data = data
        self._turn = number  # workers are not all at the same point of the cycle
        self._written = 0
        self._unsure: set[int] = set()
        self._overwrites = 0
        self._overwritten: dict[int, tuple[int, int]] = {}  # the last number acknowledged, and how many were
        self._counted: dict[int, tuple[int, int]] = {}  # the last count answered, and how many were
        self._cycle: tuple[Callable[[], Request], ...] = (
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

    def next(self) -> Request:
        self._turn += 1
        return self._cycle[self._turn % len(self._cycle)]()

    def acknowledged(self) -> Iterator[Acknowledged]:
        for number in range(self._written):
            if number not in self._unsure:
                yield Acknowledged(key=self._key(b"w", number), value=self._value(number))
        for number, (last, writes) in self._overwritten.items():
            yield Acknowledged(key=self._key(b"o", number), at_least=last, writes=writes)
        for number, (_, writes) in self._counted.items():
            yield Acknowledged(key=self._key(b"c", number), at_least=writes, writes=writes)

    def _write(self) -> Request:
        number = self._written
        self._written += 1
        self._unsure.add(number)
        return self._set(self._key(b"w", number), self._value(number), lambda: self._unsure.remove(number))

    def _read_written(self) -> Request:
        number = self._turn * 7919 % max(self._written, 1)
        if not self._written or number in self._unsure:
            return self._read_data()
        return _read(Acknowledged(key=self._key(b"w", number), value=self._value(number)))

    def _overwrite(self) -> Request:
        self._overwrites += 1
        count = self._overwrites
        number = count % _OVERWRITTEN_KEYS

        def acknowledge() -> None:
            self._overwritten[number] = (count, self._overwritten.get(number, (0, 0))[1] + 1)

        return self._set(self._key(b"o", number), count, acknowledge)

    def _read_overwritten(self) -> Request:
        number = self._overwrites % _OVERWRITTEN_KEYS
        last, writes = self._overwritten.get(number, (0, 0))
        return _read(Acknowledged(key=self._key(b"o", number), at_least=last, writes=writes))

    def _count(self) -> Request:
        number = self._turn % _COUNTERS
        name = self._key(b"c", number)

        def accept(reply: Reply) -> None:
            last, writes = self._counted.get(number, (0, 0))
            answered = reply if isinstance(reply, int) else 0
            self._counted[number] = (max(answered, last), writes + 1)
            if answered <= last:
                raise WrongAnswer(f"{name.decode()} counts {answered} after {last}")

        return Request(key=name, command=("INCR", name), writes=True, accept=accept)

    def _read_data(self) -> Request:
        number = (self._turn * 104729 + self._number * 1299709) % self._data.keys
        while self._data.kind(number) is not Kind.TEXT:
            number = (number + 1) % self._data.keys
        return _read(Acknowledged(key=key(number), value=self._data.content(number)[0]))

    @staticmethod
    def _set(name: bytes, value: bytes | int, acknowledge: Callable[[], None]) -> Request:
        return Request(key=name, command=("SET", name, value), writes=True, accept=lambda _: acknowledge())

    def _key(self, kind: bytes, number: int) -> bytes:
        return b"traffic:%b:%d:%d" % (kind, self._number, number)

    def _value(self, number: int) -> bytes:
        return text(self._number * 1_000_000 + number, _WRITTEN_BYTES)


def _read(expected: Acknowledged) -> Request:
    return Request(key=expected.key, command=("GET", expected.key), writes=False, accept=partial(_require, expected))


def _require(expected: Acknowledged, reply: Reply) -> None:
    if expected.lost(reply):
        raise WrongAnswer(f"{expected.key.decode()} does not hold the acknowledged value")


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
