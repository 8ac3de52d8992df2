"""Move slots with small values key by key, with short waits for clients of the source.

A few slots at a time are opened: the target imports them and the source migrates them. Meanwhile the source answers for
the keys that it has, and sends clients to the target for all others (ASK). MIGRATE moves some keys in less than a
millisecond. When the source has no key of a slot left, the slot gets its new owner, first on the target.

A node with a replica that does not answer refuses each change of a slot after two seconds (NOREPLICAS), until it drops
the replica. A move waits for that, and sends a single change at first.

An open slot is always completed, because the target may have got new keys: by the next attempt, by the recovery of
the task, or by the next move from this source.

Source: CLUSTER SETSLOT, GETKEYSINSLOT and MIGRATE of Valkey 9.1. Measured in docs/decisions/0045.
"""

import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from libvalkey import ReplyError

from cachewright.model.instances import Node
from cachewright.valkey.access import Access
from cachewright.valkey.acl import CONTROL_USER
from cachewright.valkey.client import NodeBusy, NodeRefused, refusal
from cachewright.valkey.migration.failure import MigrationFailed
from cachewright.valkey.migration.key_batches import KeyBatchSizer
from cachewright.valkey.migration.key_values import READ_VALUE
from cachewright.valkey.migration.source_state import MigrationState
from cachewright.valkey.migration.stale_copies import InterruptedKeys, remove_stale
from cachewright.valkey.session import Session, Word

_TIMEOUT_MS = 1000
"""The source answers no client for this long if the target freezes in the middle of a command."""

_ANSWER_SECONDS = 5.0
_MIGRATE_SECONDS = 60.0
"""Time limit of MIGRATE on a source that is suspended. Its reply tells which keys the target may have copies of."""

_SIZED_AT_ONCE = 100
Listing = Mapping[int, Mapping[bytes, int]]
"""Memory of keys in bytes, by slot and key."""

MOST_LISTED = 1_000
"""Keys of a slot that are listed at once. It takes the node about a tenth of a millisecond."""

_TARGET_REFUSES = "Target instance replied with error: "
_NOT_ANY_MORE = "I'm not the owner"
_ALREADY = "I'm already the owner"
# Returns the number of keys left in the slot, and the given keys that MIGRATE has not moved, with their values at this
# moment, before any client can change them.
_LEFT = (
    READ_VALUE
    + """
local reply = {redis.call('CLUSTER', 'COUNTKEYSINSLOT', ARGV[1])}
for position = 2, #ARGV do
  local value = read_value(ARGV[position])
  if value then
    reply[#reply + 1] = ARGV[position]
    reply[#reply + 1] = value
  end
end
return reply
"""
)


class KeyMover:
    """Moves slots of one source to one target.

    :ivar keys: number of keys that have moved; :ivar bytes: their memory on the source.
    """

    def __init__(
        self, source: Session, target: Session, nodes: tuple[Node, Node], *, access: Access, state: MigrationState
    ) -> None:
        self._source = source
        self._target = target
        self._nodes = nodes
        self._state = state
        host, port = nodes[1].host, nodes[1].peer_port
        credentials: tuple[Word, ...] = ("AUTH2", CONTROL_USER, access.secret)
        if nodes[1].access == "password":
            credentials = ("AUTH", access.password) if access.password else ()
        self._migrate: tuple[Word, ...] = ("MIGRATE", host, port, "", 0, _TIMEOUT_MS, *credentials, "KEYS")
        self._sizer = KeyBatchSizer()
        self.keys = 0
        self.bytes = 0

    async def list_keys(self, slots: Sequence[int]) -> Listing:
        """Return the keys of each slot with their memory in bytes: all of them, if a slot has up to MOST_LISTED."""
        listing = [("CLUSTER", "GETKEYSINSLOT", slot, MOST_LISTED) for slot in slots]
        listed = await _each(self._source, listing)
        sizes = await self._sizes([key for keys in listed for key in keys])
        return {
            slot: {key: sizes[key] for key in keys if key in sizes} for slot, keys in zip(slots, listed, strict=True)
        }

    async def move(self, slots: Sequence[int], listed: Listing | None = None) -> AsyncGenerator[None, None]:
        """Open slots, move their keys and complete them. Yields after every few keys. Slots may be open already.

        Raises MigrationFailed if it is interrupted; the slots stay open.

        :param listed: the keys of the slots, if they are known.
        """
        # The first slot shows whether all replicas of both nodes answer.
        await self._open(slots[:1])
        await self._open(slots[1:])
        suspects = self._state.suspects.get(self._nodes[0].id)
        if suspects and suspects.slot in slots:
            await remove_stale(self._source, self._target, suspects.slot, suspects)
            del self._state.suspects[self._nodes[0].id]
        while counts := await self._counts(slots):
            keys = listed or await self.list_keys(list(counts))
            listed = None  # clients may have added keys before the slots were opened
            for slot, count in counts.items():
                async for _ in self._move_keys(slot, keys.get(slot, {}), count):
                    yield
        await self._complete(slots)

    async def resume(self, slots: Sequence[int]) -> AsyncGenerator[None, None]:
        """Move like `move`, after an interruption: first remove copies that it may have left on the target."""
        await self._import(slots[:1])
        await self._import(slots[1:])
        for slot in slots:
            await remove_stale(self._source, self._target, slot, None)
        async for _ in self.move(slots):
            yield

    async def _open(self, slots: Sequence[int]) -> None:
        await self._import(slots)
        migrating = [("CLUSTER", "SETSLOT", slot, "MIGRATING", self._nodes[1].id) for slot in slots]
        await _each(self._source, migrating, allowed=_NOT_ANY_MORE)

    async def _import(self, slots: Sequence[int]) -> None:
        importing = [("CLUSTER", "SETSLOT", slot, "IMPORTING", self._nodes[0].id) for slot in slots]
        await _each(self._target, importing, allowed=_ALREADY)

    async def _counts(self, slots: Iterable[int]) -> dict[int, int]:
        """Return the number of keys of each slot that has keys."""
        counting = [("CLUSTER", "COUNTKEYSINSLOT", slot) for slot in slots]
        counts = zip(slots, await _each(self._source, counting), strict=True)
        return {slot: count for slot, count in counts if count}

    async def _move_keys(self, slot: int, sizes: Mapping[bytes, int], count: int) -> AsyncGenerator[None, None]:
        """Move keys of a slot that has `count` keys."""
        for batch in self._sizer.batches(list(sizes), sizes):
            left = await self.move_batch(slot, batch)
            self.keys += max(count - left, 0)
            self.bytes += sum(sizes[key] for key in batch)
            count = left
            yield

    async def move_batch(self, slot: int, keys: Sequence[bytes]) -> int:
        """Move keys of an open slot. Return how many keys it has left. Raises MigrationFailed if the target does not
        answer or refuses."""
        existing = keys
        while existing:
            began = time.perf_counter()
            left: tuple[Word, ...] = ("EVAL_RO", _LEFT, 0, slot, *existing)
            transaction: list[tuple[Word, ...]] = [("MULTI",), (*self._migrate, *existing), left, ("EXEC",)]
            replies = await self._source.ask_each(transaction, _MIGRATE_SECONDS)
            self._sizer.record(time.perf_counter() - began)
            refused = next((reply for reply in replies if isinstance(reply, NodeRefused)), None)
            if refused is None:
                return await self._moved(slot, *replies[-1])
            # The transaction is refused if one of its keys is gone.
            before, existing = existing, await self._existing(existing)
            if len(existing) == len(before):
                self._require(slot, refused)
        return int(await self._source.ask("CLUSTER", "COUNTKEYSINSLOT", slot))

    async def _moved(self, slot: int, reply: object, left: Sequence[Any]) -> int:
        """Return the number of keys that the slot has left after MIGRATE. Record the keys that may have copies."""
        remaining, *interrupted = left
        if isinstance(reply, ReplyError):
            values = dict(zip(interrupted[::2], map(tuple, interrupted[1::2]), strict=True))
            suspects = self._state.suspects[self._nodes[0].id] = InterruptedKeys(slot, values)
            if "BUSYKEY" not in str(reply):
                self._require(slot, reply)
            await remove_stale(self._source, self._target, slot, suspects)
            del self._state.suspects[self._nodes[0].id]
        return int(remaining)

    async def _existing(self, keys: Sequence[bytes]) -> list[bytes]:
        """Return the keys of an open slot that the source has. Raises NodeBusy."""
        replies = await self._source.ask_each([("EXISTS", key) for key in keys])
        for reply in replies:
            if isinstance(reply, NodeBusy):
                raise reply
        return [key for key, reply in zip(keys, replies, strict=True) if reply == 1]

    def _require(self, slot: int, reply: object) -> None:
        """Raise MigrationFailed if MIGRATE was refused or not answered; NodeBusy if a node is busy."""
        if isinstance(reply, NodeBusy):
            raise reply
        if isinstance(reply, ReplyError | NodeRefused):
            source, target = self._nodes
            of_target = refusal(target.id, str(reply).partition(_TARGET_REFUSES)[2])
            if isinstance(of_target, NodeBusy):
                raise of_target
            raise MigrationFailed([f"slot {slot} from node {source.id} to node {target.id}: MIGRATE: {reply}"[:500]])

    async def _sizes(self, keys: Sequence[bytes]) -> Mapping[bytes, int]:
        """Return the memory of each key in bytes, without keys that are gone."""
        sizes: dict[bytes, int] = {}
        for start in range(0, len(keys), _SIZED_AT_ONCE):
            part = keys[start : start + _SIZED_AT_ONCE]
            replies = await self._source.ask_each([("MEMORY", "USAGE", key) for key in part])
            sizes.update({key: size for key, size in zip(part, replies, strict=True) if isinstance(size, int)})
        return sizes

    async def _complete(self, slots: Sequence[int]) -> None:
        """Give slots without keys to the target. It announces them to all nodes."""
        target = self._nodes[1]
        for session in (self._target, self._source):
            for part in (slots[:1], slots[1:]):
                await _each(session, [("CLUSTER", "SETSLOT", slot, "NODE", target.id) for slot in part])
        suspects = self._state.suspects.get(self._nodes[0].id)
        if suspects and suspects.slot in slots:
            del self._state.suspects[self._nodes[0].id]  # a later copy with the same key and value may be valid


@asynccontextmanager
async def key_mover(source: Node, target: Node, access: Access, state: MigrationState) -> AsyncIterator[KeyMover]:
    """Yield a mover with its own connections, because keys and values may be any bytes. Raises one of NODE_GONE or
    NodeRefused."""
    async with AsyncExitStack() as opened:
        sessions = []
        for node in (source, target):
            sessions.append(await Session.open(node, access, _ANSWER_SECONDS, encoding=None))
            opened.callback(sessions[-1].close)
        yield KeyMover(sessions[0], sessions[1], (source, target), access=access, state=state)


async def _each(session: Session, commands: Sequence[tuple[Word, ...]], allowed: str = "") -> list[Any]:
    """Send commands and return their replies. Raises NodeRefused of the first one without the text `allowed`."""
    replies = await session.ask_each(commands)
    for reply in replies:
        if isinstance(reply, NodeRefused) and not (allowed and allowed in str(reply)):
            raise reply
    return replies
