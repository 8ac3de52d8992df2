"""Copies of keys from a source that cannot be replicated, through the server: DUMP there, RESTORE here.

Source: https://valkey.io/commands/dump and https://valkey.io/commands/restore.
"""

from collections.abc import Mapping, Sequence

from cachewright.model.instances import Node
from cachewright.valkey.client import NodeBusy, NodeRefused
from cachewright.valkey.session import Session
from cachewright.valkey.sources.copier import BYTES_AT_ONCE, KeyCopier
from cachewright.valkey.sources.shape import SourcePrimary
from cachewright.valkey.sources.source import Source

_ANSWER_SECONDS = 60.0


class DirectCopier(KeyCopier):
    """Copies keys of one primary of a source. Its session is a connection to the primary itself."""

    async def _sizes(self, keys: Sequence[bytes]) -> list[int | None]:
        """Same as for a gateway. A source that does not tell sizes gives its keys one by one: none may be too many."""
        try:
            return await super()._sizes(keys)
        except NodeBusy:
            raise
        except NodeRefused:
            missing = set(await self._missing(self._database, keys))
            return [None if key in missing else BYTES_AT_ONCE for key in keys]

    async def _transfer(self, groups: Mapping[Node, list[bytes]], database: int) -> None:
        for node, group in groups.items():
            await self._restore(node, database, group)

    async def _restore(self, node: Node, database: int, keys: list[bytes]) -> None:
        questions = [(command, key) for key in keys for command in (b"PTTL", b"DUMP")]
        replies = await self._session.ask_each(questions)
        for reply in replies:
            if isinstance(reply, NodeRefused):
                raise reply
        values = zip(keys, replies[::2], replies[1::2], strict=True)
        copies = [
            (b"RESTORE", key, 0 if remaining < 0 else max(remaining, 1), value, b"REPLACE")
            for key, remaining, value in values
            if value is not None
        ]
        if copies:
            await self._ask_target(node, database, copies)


async def direct_session(source: Source, primary: SourcePrimary) -> Session:
    """Open a connection to a primary whose address was checked, for keys and values. Raises one of NODE_GONE or
    NodeRefused."""
    place = source.place(primary.host, primary.port, primary.name)
    return await Session.at(place, primary.address, _ANSWER_SECONDS, encoding=None)
