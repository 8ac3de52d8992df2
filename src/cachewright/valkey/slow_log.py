"""The slow log of a node: commands that took longer than its parameter `slowlog-log-slower-than`.

Source: SLOWLOG GET and ROLE of Valkey 9.1.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from cachewright.model.instances import Role
from cachewright.valkey.roles import ROLES
from cachewright.valkey.single_request import Command, Unreadable

_MOST_ENTRIES = 400
"""Newest entries that are read. An entry has at most 32 words of 128 bytes, so all fit into a reply."""

COMMANDS: Sequence[Command] = (("SLOWLOG", "GET", str(_MOST_ENTRIES)), ("ROLE",))
"""Commands that read the slow log and the role of a node. `parse` reads the replies."""

_FIELDS = 6


class SlowCommand(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of the slow log. Its words are data of the instance's owner: do not log them.

    :ivar number: consecutive number of the entry since the start of the node.
    :ivar at: when the command began, in epoch seconds.
    :ivar words: the command. The node cuts long ones, and replaces passwords.
    :ivar client: `address:port`; of the control plane the path of a socket, where it uses one.
    :ivar name: name of the connection, which a client may choose.
    """

    number: int
    at: int
    microseconds: int
    words: tuple[str, ...]
    client: str
    name: str


class SlowLog(msgspec.Struct, frozen=True):
    """:ivar role: role of the node at present."""

    role: Role
    entries: tuple[SlowCommand, ...]


def parse(replies: Sequence[Any]) -> SlowLog:
    """Parse the replies to COMMANDS. Raises Unreadable."""
    try:
        entries, role = replies
        return SlowLog(ROLES[role[0]], tuple(map(_entry, entries)))
    except (LookupError, TypeError, ValueError) as error:
        raise Unreadable(f"no slow log: {error!r}"[:200]) from error


def _entry(fields: Sequence[Any]) -> SlowCommand:
    number, at, microseconds, words, client, name = fields[:_FIELDS]
    return SlowCommand(
        number=int(number),
        at=int(at),
        microseconds=int(microseconds),
        words=tuple(map(str, words)),
        client=str(client),
        name=str(name),
    )
