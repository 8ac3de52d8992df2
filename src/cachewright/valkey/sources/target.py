"""The nodes of an instance that receive keys, and connections to them."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from valkey.crc import key_slot

from cachewright.model.instances import Node
from cachewright.valkey.access import Access
from cachewright.valkey.session import Session
from cachewright.valkey.slots import SLOTS
from cachewright.valkey.sources.shape import keys_by_database
from cachewright.valkey.topology import View

_ANSWER_SECONDS = 15.0


class TargetMap(msgspec.Struct, frozen=True):
    """Which node owns which slot. Of an instance without slots the primary owns all.

    :ivar nodes: all owners.
    :ivar owners: position in `nodes` of the owner of each slot.
    """

    nodes: tuple[Node, ...]
    owners: tuple[int, ...]

    @classmethod
    def of(cls, nodes: Sequence[Node], view: View) -> "TargetMap | None":
        """Return the map that a view stands for; None if a slot has no owner among the nodes."""
        owners = [-1] * SLOTS
        found: list[Node] = []
        for node in nodes:
            member = view.members.get(node.id)
            if member is None or not member.slots or member.primary:
                continue
            for part in member.slots:
                owners[part.first : part.last + 1] = [len(found)] * len(part)
            found.append(node)
        return None if -1 in owners else cls(tuple(found), tuple(owners))

    def by_node(self, keys: Sequence[bytes]) -> Mapping[Node, list[bytes]]:
        """Return keys by the node that owns them."""
        if len(self.nodes) == 1:
            return {self.nodes[0]: list(keys)}
        groups: dict[int, list[bytes]] = {}
        for key in keys:
            groups.setdefault(self.owners[key_slot(key)], []).append(key)
        return {self.nodes[owner]: group for owner, group in groups.items()}


class TargetLoad(msgspec.Struct, frozen=True):
    """Sums of counters of all nodes that own slots.

    :ivar keys: number of keys.
    :ivar received: bytes that they have received.
    :ivar kbps: kilobytes that they receive in a second now, :ivar ops: commands.
    :ivar evicted: number of keys that they have evicted.
    :ivar processes: identities of their processes.
    """

    keys: int
    received: int
    kbps: int
    ops: int
    evicted: int
    processes: frozenset[str]

    @classmethod
    def of(cls, nodes: Sequence[Mapping[str, str]]) -> "TargetLoad":
        """Return the sums of the fields of INFO of each node."""

        def total(name: str) -> int:
            return sum(round(float(said.get(name, "0"))) for said in nodes)

        return cls(
            keys=sum(sum(keys_by_database(said).values()) for said in nodes),
            received=total("total_net_input_bytes"),
            kbps=total("instantaneous_input_kbps"),
            ops=total("instantaneous_ops_per_sec"),
            evicted=total("evicted_keys"),
            processes=frozenset(said.get("run_id", "") for said in nodes),
        )


class TargetLinks:
    """Connections to the nodes of an instance, opened when they are needed. Methods raise one of NODE_GONE, or
    NodeRefused."""

    def __init__(self, access: Access) -> None:
        self.access = access
        self._sessions: dict[str, Session] = {}
        self._databases: dict[str, int] = {}

    async def ask_each(self, node: Node, database: int, commands: Sequence[Sequence[str | bytes | int]]) -> list[Any]:
        """Send commands to a node and return their replies, refusals among them."""
        session = self._sessions.get(node.id)
        if session is None:
            session = await Session.open(
                node, self.access, _ANSWER_SECONDS, lambda: self._forget(node.id), encoding=None
            )
            self._sessions[node.id], self._databases[node.id] = session, 0
        try:
            if self._databases[node.id] != database:
                await session.ask("SELECT", database)
                self._databases[node.id] = database
            return await session.ask_each(commands)
        except BaseException:  # the next replies could be those of these commands
            session.close()
            self._forget(node.id)
            raise

    def close(self) -> None:
        for session in self._sessions.values():
            session.close()
        self._sessions.clear()

    def _forget(self, node_id: str) -> None:
        self._sessions.pop(node_id, None)
