"""Copies of keys from a gateway to the nodes of an instance, by their present state.

A key that exists replaces the one of the instance (MIGRATE with COPY and REPLACE), a key that does not exist is deleted
there. So the copy of a key may be repeated at any time, and the commands that have changed it do not matter.

Gateways have no TLS. Keys for a node with TLS on another machine are read here (DUMP) and written over the connection
of the control plane (RESTORE).

Sources: https://valkey.io/commands/migrate, dump and restore.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

from cachewright.errors import CachewrightError
from cachewright.model.hosts import EMBEDDED
from cachewright.model.instances import Node
from cachewright.valkey.acl import CONTROL_USER
from cachewright.valkey.client import NODE_GONE, NodeBusy, NodeRefused
from cachewright.valkey.replies import meaning_of
from cachewright.valkey.session import Session
from cachewright.valkey.single_request import fields
from cachewright.valkey.sources.target import TargetLinks, TargetLoad, TargetMap

KEYS_AT_ONCE = 500
BYTES_AT_ONCE = 16 * 1024 * 1024
"""Memory of the keys of one MIGRATE, which the gateway builds up in memory, and for which the nodes stall."""

FIRST = b"0"
"""Cursor of SCAN, first and last."""

_MIGRATE_MS = 60_000
_FROM_TARGET = "ERR Target instance replied with error: "
_NO_CONNECTION = "IOERR"

_LARGE = 256 * 1024 * 1024
_MOST_TRIES = 5
_SHOWN_BYTES = 100

Refusal = Literal["look again", "memory", "final"]


def needs_tls(node: Node) -> bool:
    """Whether a connection to a node crosses machines, and the node has TLS for that."""
    return node.host_name != EMBEDDED and node.tls_listener is not None


class TargetNotReady(CachewrightError):
    """A node of the instance does not answer, or does not own the keys any more. The copy can be repeated."""


class KeysRefused(CachewrightError):
    """A node of the instance does not accept a key.

    :ivar no_memory: whether the reason is its limit on memory.
    """

    def __init__(self, message: str, *, no_memory: bool) -> None:
        super().__init__(message)
        self.message = message
        self.no_memory = no_memory


def parts(keys: Sequence[bytes], sizes: Sequence[int]) -> Iterator[list[bytes]]:
    """Yield the keys in parts of at most `BYTES_AT_ONCE`, or of a single key. Pure."""
    part: list[bytes] = []
    held = 0
    for key, size in zip(keys, sizes, strict=True):
        if part and held + size > BYTES_AT_ONCE:
            yield part
            part, held = [], 0
        part.append(key)
        held += size
    if part:
        yield part


def _library_name(library: Sequence[Any]) -> str:
    """Return the name of a library in the reply to FUNCTION LIST: names of members and their values in turn."""
    return str(dict(zip(library[::2], library[1::2], strict=False))[b"library_name"], "utf-8")


def meaning_of_refusal(text: str) -> Refusal:
    """Return what the refusal of MIGRATE, or of a command to the node itself, means for the copy. Pure."""
    words = text.removeprefix(_FROM_TARGET)
    if words.startswith("OOM"):
        return "memory"
    if words.startswith(_NO_CONNECTION):
        return "look again"
    meaning = meaning_of(words).meaning
    known_by_prefix = meaning != "retry" or words.startswith("MISCONF")
    return "look again" if known_by_prefix and meaning != "final" else "final"


class KeyCopier:
    """Copies keys of one gateway.

    :ivar find_target: reads the present owners of slots.
    :ivar has_new_owners: a replica of the instance has taken over, or a node was started again, which may lack the last
        keys that were acknowledged.
    """

    def __init__(self, session: Session, links: TargetLinks, find_target: Callable[[], Awaitable[TargetMap]]) -> None:
        """:param session: connection to the gateway, with texts as bytes."""
        self._session = session
        self._links = links
        self.find_target = find_target
        self._target: TargetMap | None = None
        self._last_owners: tuple[list[str], tuple[int, ...]] | None = None
        self._processes: frozenset[str] | None = None
        self.has_new_owners = False
        self._database = 0
        self._tries: Counter[bytes] = Counter()

    async def copy(self, keys: Sequence[bytes], databases: Iterable[int]) -> None:
        """Copy keys in each of these databases. Raises TargetNotReady, after which the copy is repeated as a whole, as
        after NodeBusy of the gateway, which has no link to its source; KeysRefused, or one of NODE_GONE if the gateway
        does not answer."""
        for database in sorted(databases):
            for start in range(0, len(keys), KEYS_AT_ONCE):
                await self._copy(keys[start : start + KEYS_AT_ONCE], database)

    async def scan(self, database: int, cursor: bytes, *only: str) -> tuple[bytes, list[bytes]]:
        """Return the next cursor and keys of the gateway. `only` are options of SCAN, such as `TYPE stream`. Raises one
        of NODE_GONE or NodeRefused."""
        await self._select(database)
        following, keys = await self._session.ask("SCAN", cursor, "COUNT", KEYS_AT_ONCE, *only)
        return following, keys

    async def surplus(
        self, node: Node, database: int, cursor: bytes, owns: Callable[[bytes], bool]
    ) -> tuple[bytes, list[bytes]]:
        """Return the next cursor, and keys of a node that the gateway does not have, of those that it `owns`. Raises
        like `copy`."""
        ((cursor, keys),) = await self._ask_target(node, database, [("SCAN", cursor, "COUNT", KEYS_AT_ONCE)])
        return cursor, await self._missing(database, [key for key in keys if owns(key)])

    async def owners(self) -> tuple[Node, ...]:
        """Return the nodes of the instance that own slots. Raises TargetNotReady."""
        return (await self._owners()).nodes

    async def libraries(self) -> frozenset[str]:
        """Return the names of the function libraries of the gateway. Raises one of NODE_GONE or NodeRefused."""
        found = await self._session.ask("FUNCTION", "LIST")
        return frozenset(_library_name(library) for library in found)

    async def copy_functions(self, deleted: Sequence[str]) -> None:
        """Load the function libraries of the gateway into every primary of the instance, in place of those with the
        same name, and without those of these names. Raises like `copy`."""
        payload = await self._session.ask("FUNCTION", "DUMP")
        for node in (await self._owners()).nodes:
            (listed,) = await self._ask_target(node, 0, [("FUNCTION", "LIST")])
            known = {_library_name(library) for library in listed}
            deletions = [("FUNCTION", "DELETE", name) for name in deleted if name in known]
            await self._ask_target(node, 0, [*deletions, ("FUNCTION", "RESTORE", payload, "REPLACE")])

    async def target_load(self) -> TargetLoad:
        """Return what the nodes of the instance measure, and notice whether they were started again. Raises like
        `copy`."""
        said = []
        for node in (await self._owners()).nodes:
            (reply,) = await self._ask_target(node, 0, [("INFO", "server", "stats", "keyspace")])
            said.append(fields(reply.decode()))
        load = TargetLoad.of(said)
        if self._processes is not None and load.processes != self._processes:
            self.has_new_owners = True
        self._processes = load.processes
        return load

    async def _owners(self) -> TargetMap:
        if self._target is None:
            found = await self.find_target()
            ids = [node.id for node in found.nodes], found.owners
            if self._last_owners is not None and ids != self._last_owners:
                self.has_new_owners = True
            self._target, self._last_owners = found, ids
        return self._target

    async def _copy(self, keys: Sequence[bytes], database: int) -> None:
        owners = await self._owners()
        await self._select(database)
        sizes = dict(zip(keys, await self._sizes(keys), strict=True))
        present = [key for key in keys if sizes[key] is not None]
        for part in parts(present, [sizes[key] or 0 for key in present]):
            try:
                await self._transfer(owners.by_node(part), database)
            except TargetNotReady as reason:
                await self._require_transferable(part[0], sizes[part[0]] or 0, reason)
                raise
        # MIGRATE omits keys whose expiry has passed. A key that is created after this question has changed, and is
        # copied again.
        gone = set(await self._missing(database, keys))
        for node, group in owners.by_node([key for key in keys if key in gone]).items():
            await self._ask_target(node, database, [(b"UNLINK", key) for key in group])

    async def _require_transferable(self, key: bytes, size: int, reason: TargetNotReady) -> None:
        """Raise KeysRefused if a very large key was not transferred several times, although its node answers: the value
        has more bytes than the node accepts (`proto-max-bulk-len`). TargetNotReady if it does not answer."""
        if size < _LARGE:
            return
        self._tries[key] += 1
        if self._tries[key] < _MOST_TRIES:
            return
        for node in (await self._owners()).by_node([key]):
            await self._ask_target(node, 0, [("PING",)])
        message = f"{key[:_SHOWN_BYTES]!r} of {size} bytes of memory cannot be transferred: {reason}"
        raise KeysRefused(message, no_memory=False)

    async def _sizes(self, keys: Sequence[bytes]) -> list[int | None]:
        """Return the memory of each key in the selected database, None if it does not exist."""
        replies = await self._session.ask_each([(b"MEMORY", b"USAGE", key) for key in keys])
        for reply in replies:
            if isinstance(reply, NodeRefused):
                raise reply
        return replies

    async def _transfer(self, groups: Mapping[Node, list[bytes]], database: int) -> None:
        """Copy those of the keys that exist, in the selected database."""
        near = {node: group for node, group in groups.items() if not needs_tls(node)}
        copies = [self._migrate(node, database, group) for node, group in near.items()]
        if copies:
            self._require_accepted(await self._session.ask_each(copies, _MIGRATE_MS / 1000 * (len(copies) + 1)))
        for node, group in groups.items():
            if node not in near:
                await self._restore(node, database, group)

    async def _restore(self, node: Node, database: int, keys: list[bytes]) -> None:
        """Copy those of the keys that exist, in the selected database, through this process."""
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

    async def _missing(self, database: int, keys: Sequence[bytes]) -> list[bytes]:
        """Return those of the keys that the gateway does not have. Raises one of NODE_GONE or NodeRefused."""
        await self._select(database)
        replies = await self._session.ask_each([(b"EXISTS", key) for key in keys])
        for reply in replies:
            if isinstance(reply, NodeRefused):
                raise reply
        return [key for key, exists in zip(keys, replies, strict=True) if not exists]

    async def _ask_target(
        self, node: Node, database: int, commands: Sequence[Sequence[str | bytes | int]]
    ) -> list[Any]:
        try:
            replies = await self._links.ask_each(node, database, commands)
        except (NodeBusy, *NODE_GONE) as error:
            self._target = None
            raise TargetNotReady(f"node {node.id} does not answer") from error
        except NodeRefused as refusal:
            replies = [refusal]
        if busy := next((reply for reply in replies if isinstance(reply, NodeBusy)), None):
            self._target = None
            raise TargetNotReady(str(busy))
        self._require_accepted(replies)
        return replies

    def _require_accepted(self, replies: Iterable[object]) -> None:
        """Raise TargetNotReady or KeysRefused if a node of the instance has refused, or NodeBusy of the gateway."""
        for reply in replies:
            if not isinstance(reply, NodeRefused):
                continue
            if isinstance(reply, NodeBusy):
                raise reply
            words = str(reply)
            meaning = meaning_of_refusal(words)
            if meaning == "look again":
                self._target = None
                raise TargetNotReady(words)
            raise KeysRefused(words.removeprefix(_FROM_TARGET), no_memory=meaning == "memory")

    def _migrate(self, node: Node, database: int, keys: Sequence[bytes]) -> tuple[str | bytes | int, ...]:
        signed_in = ("AUTH2", CONTROL_USER, self._links.access.secret)
        return (
            "MIGRATE", node.host, node.port, "", database, _MIGRATE_MS, "COPY", "REPLACE", *signed_in, "KEYS", *keys,
        )  # fmt: skip

    async def _select(self, database: int) -> None:
        if self._database != database:
            await self._session.ask("SELECT", database)
            self._database = database
