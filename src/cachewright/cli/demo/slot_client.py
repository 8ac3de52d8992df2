"""Sends pipelined commands directly to the nodes that own their keys, in a cluster whose slots do not move.

The loader and the checks use it before and after scaling. It does not follow redirections; a redirection is an error.
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
"""A key, and commands for it."""


class Seed(msgspec.Struct, frozen=True):
    """One node of the cluster, and the password of all nodes."""

    host: str
    port: int
    password: str | None


class Link(Protocol):
    """Typed part of the client library's connection."""

    def pack_commands(self, commands: Iterable[Command]) -> list[bytes]: ...
    def send_packed_command(self, command: list[bytes]) -> None: ...
    def read_response(self) -> Reply: ...
    def disconnect(self) -> None: ...


class SlotClient:
    def __init__(self, seed: Seed) -> None:
        """Read the owners of all slots once."""
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
        """Yield the replies for each key, in order. Nodes work concurrently."""
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
