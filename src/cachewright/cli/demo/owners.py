"""Straight to the node that owns a key: many commands at once, for a cluster whose slots stay where they are.

The loader and the checks use it, before and after the scaling. It does not follow redirections: one is an error.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Protocol, Self, cast

import msgspec
from valkey.client import Valkey
from valkey.connection import Connection
from valkey.crc import key_slot

from cachewright.cli.demo.content import Command, Reply

_AT_ONCE = 2000
_ANSWER_SECONDS = 30.0

Work = tuple[bytes, Sequence[Command]]
"""A key, and commands on it."""


class Seed(msgspec.Struct, frozen=True):
    """Any node of the cluster, and the password of all."""

    host: str
    port: int
    password: str | None


class Link(Protocol):
    """What is used of the client library's connection, with types."""

    def pack_commands(self, commands: Iterable[Command]) -> list[bytes]: ...
    def send_packed_command(self, command: list[bytes]) -> None: ...
    def read_response(self) -> Reply: ...
    def disconnect(self) -> None: ...


class SlotClient:
    def __init__(self, seed: Seed) -> None:
        """Reads who owns what. It is not read again."""
        self._links: dict[tuple[bytes, int], Link] = {}
        self._by_slot: list[Link | None] = [None] * 16384
        with Valkey(host=seed.host, port=seed.port, password=seed.password, socket_timeout=_ANSWER_SECONDS) as node:
            for first, last, (host, port, *_), *_ in node.execute_command("CLUSTER SLOTS"):
                link = self._links.setdefault((host, port), _link(host.decode(), port, seed.password))
                self._by_slot[first : last + 1] = [link] * (last - first + 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for link in self._links.values():
            link.disconnect()

    def replies(self, work: Iterable[Work]) -> Iterator[list[Reply]]:
        """For each key, in order, the replies to its commands. The nodes work side by side."""
        rest = iter(work)
        while batch := list(islice(rest, _AT_ONCE)):
            links = [self._owner(name) for name, _ in batch]
            grouped: dict[Link, list[Command]] = {}
            for link, (_, commands) in zip(links, batch, strict=True):
                grouped.setdefault(link, []).extend(commands)
            for link, commands in grouped.items():
                link.send_packed_command(link.pack_commands(commands))
            answers = {link: iter([link.read_response() for _ in commands]) for link, commands in grouped.items()}
            for link, (_, commands) in zip(links, batch, strict=True):
                yield list(islice(answers[link], len(commands)))

    def _owner(self, name: bytes) -> Link:
        link = self._by_slot[key_slot(name)]
        if link is None:
            raise LookupError(f"no node owns the slot of {name!r}")
        return link


def _link(host: str, port: int, password: str | None) -> Link:
    made = Connection(host=host, port=port, password=password, socket_timeout=_ANSWER_SECONDS)  # type: ignore[no-untyped-call]
    return cast(Link, made)
