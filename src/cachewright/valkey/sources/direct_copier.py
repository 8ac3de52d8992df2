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


async def direct_session(source: Source, primary: SourcePrimary) -> Session:
    """Open a connection to a primary whose address was checked, for keys and values. Raises one of NODE_GONE or
    NodeRefused."""
    place = source.place(primary.host, primary.port, primary.name)
    return await Session.at(place, primary.address, _ANSWER_SECONDS, encoding=None)
