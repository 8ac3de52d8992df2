"""The primaries of a source: addresses, slots, number of keys. Its replies are not trusted: their size and time are
limited, and every address that they name is checked before it is used.

Sources: INFO, CLUSTER NODES and SENTINEL PRIMARIES of Valkey 9.1; the same replies of Redis 6.2 and 7.0.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Literal

import msgspec

from cachewright.valkey.single_request import Unreadable, databases, fields
from cachewright.valkey.slots import SLOTS, SlotRange
from cachewright.valkey.sources.source import Source, SourceUnusable, ask, checked_address, split_address
from cachewright.valkey.topology import Member, parse_view

_ALL_SLOTS = (SlotRange(0, SLOTS - 1),)
_NEWEST_REDIS = (7, 3)
"""Newest version of Redis whose files valkey-server reads."""

_OTHER_SERVERS = frozenset({"valkey"})
"""Values of `server_name` of servers whose `redis_version` is not their own version."""

_MOST_PRIMARIES = 128
_SECTIONS = ("server", "replication", "memory", "keyspace", "cluster", "stats")
_REMOVED = ("expired_keys", "expired_fields", "evicted_keys")


class SourcePrimary(msgspec.Struct, frozen=True, kw_only=True):
    """One primary of a source.

    :ivar host: its IP address, checked, :ivar name: its host as it was named.
    :ivar slots: all slots if the source is no cluster.
    :ivar keys: by the number of the database.
    :ivar used_memory: bytes of its data.
    :ivar offset: position in its stream of writes.
    :ivar removed: number of keys and fields that have expired, and of keys that it has evicted.
    """

    host: str
    name: str
    port: int
    version: str
    slots: tuple[SlotRange, ...]
    keys: Mapping[int, int]
    used_memory: int
    offset: int
    removed: int = 0

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"


Kind = Literal["single", "sentinel", "cluster"]


class SourceShape(msgspec.Struct, frozen=True):
    """A source: its kind, and its primaries in the order of their first slots."""

    kind: Kind
    primaries: tuple[SourcePrimary, ...]


async def look(source: Source) -> SourceShape:
    """Return the primaries of a source. Raises SourceUnusable."""
    unusable = SourceUnusable("no address is given", passes=False)
    for address in source.addresses:
        try:
            return await _look_at(source, *split_address(address))
        except SourceUnusable as reason:
            if reason.passes or not unusable.passes:  # one that may be temporary is worth another attempt
                unusable = reason
    raise unusable


async def _look_at(source: Source, host: str, port: int) -> SourceShape:
    asked = source
    server: Mapping[str, str] = {}
    try:
        server = await _info(source, host, port)
    except SourceUnusable:
        # Many sentinels have no password, although the servers that they watch have one.
        asked = msgspec.structs.replace(source, user=None, password=None)
        with suppress(SourceUnusable):
            server = await _info(asked, host, port)
        if not _is_sentinel(server):
            raise
    if _is_sentinel(server):
        primary = await _primary(source, *await _watched_primary(asked, host, port), _ALL_SLOTS)
        return SourceShape("sentinel", (primary,))
    if server.get("cluster_enabled") == "1":
        members = await _members(source, host, port)
        found = [await _primary(source, *place, slots) for place, slots in members]
        return SourceShape("cluster", tuple(found))
    return SourceShape("single", (await _primary(source, host, port, _ALL_SLOTS),))


def _is_sentinel(server: Mapping[str, str]) -> bool:
    """Whether INFO is that of a sentinel. Valkey and Redis call the field differently."""
    return "sentinel" in {server.get("server_mode"), server.get("redis_mode")}


async def replication_refusal(source: Source, primary: SourcePrimary) -> str | None:
    """Return why a primary cannot be replicated, in its own words; None if it can. Raises SourceUnusable if it does not
    answer."""
    try:
        await ask(source, primary.host, primary.port, [("REPLCONF", "capa", "psync2")])
    except SourceUnusable as reason:
        if reason.passes:
            raise
        return reason.message
    with suppress(SourceUnusable):  # not every user may ask
        (known,) = await ask(source, primary.host, primary.port, [("COMMAND", "INFO", "PSYNC")])
        if known == [None]:
            return f"{primary.address} has no command PSYNC"
    return None


async def _primary(source: Source, host: str, port: int, slots: Sequence[SlotRange]) -> SourcePrimary:
    said = await _info(source, host, port)
    place = f"{host}:{port}"
    if said.get("role") != "master":
        raise SourceUnusable(
            f"{place} is a replica of {said.get('master_host')}:{said.get('master_port')}; name the primary",
            passes=True,
        )
    version = said.get("redis_version", "")
    if said.get("server_name") not in _OTHER_SERVERS and not is_readable(version):
        raise SourceUnusable(f"{place} runs Redis {version}, whose files Valkey does not read", passes=False)
    try:
        return SourcePrimary(
            host=str(await checked_address(source, host)),
            name=host,
            port=port,
            version=said.get("valkey_version", version),
            slots=tuple(slots),
            keys=keys_by_database(said),
            used_memory=int(said.get("used_memory_dataset", said["used_memory"])),
            offset=int(said["master_repl_offset"]),
            removed=sum(int(said.get(name, "0")) for name in _REMOVED),
        )
    except (KeyError, ValueError) as error:
        raise SourceUnusable(f"{place}: INFO is not readable", passes=False) from error


def keys_by_database(said: Mapping[str, str]) -> dict[int, int]:
    """Return the number of keys of each database that has keys, from INFO keyspace. Raises ValueError."""
    return {int(name[2:]): int(said[name].partition("keys=")[2].partition(",")[0]) for name in databases(said)}


def is_readable(version: str) -> bool:
    """Whether valkey-server reads the files of this version of Redis."""
    numbers = [int(part) for part in version.split(".")[:2] if part.isdecimal()]
    return tuple(numbers) <= _NEWEST_REDIS


async def _members(source: Source, host: str, port: int) -> list[tuple[tuple[str, int], tuple[SlotRange, ...]]]:
    """Return the address and slots of each primary of a cluster, in the order of their first slots."""
    try:
        view = parse_view(*await ask(source, host, port, [("CLUSTER", "NODES"), ("CLUSTER", "INFO")]))
    except Unreadable as error:
        raise SourceUnusable(f"{host}:{port}: {error}", passes=False) from error
    if not view.ok or not view.is_whole:
        raise SourceUnusable(f"the cluster of {host}:{port} is not healthy", passes=True)
    owners = sorted((member for member in view.members.values() if member.slots), key=lambda member: member.slots[0])
    if len(owners) > _MOST_PRIMARIES:
        raise SourceUnusable(f"the cluster has more than {_MOST_PRIMARIES} primaries", passes=False)
    places = [(_place(member, host), member.slots) for member in owners]
    await asyncio.gather(*(_require_no_open_slots(source, *place) for place, _ in places))
    return places


async def _require_no_open_slots(source: Source, host: str, port: int) -> None:
    """Raise SourceUnusable if a primary gives slots away or takes some. Only the node itself knows that."""
    try:
        view = parse_view(*await ask(source, host, port, [("CLUSTER", "NODES"), ("CLUSTER", "INFO")]))
    except Unreadable as error:
        raise SourceUnusable(f"{host}:{port}: {error}", passes=False) from error
    if any(member.migrating or member.importing for member in view.members.values()):
        raise SourceUnusable(f"{host}:{port} moves slots", passes=True)


def _place(member: Member, host: str) -> tuple[str, int]:
    """Return host and port of a member. A node that does not know its own host is at the address that was used."""
    named = member.address.partition("@")[0].rpartition(":")[0]
    return named or host, member.port


async def _watched_primary(source: Source, host: str, port: int) -> tuple[str, int]:
    """Return host and port of the primary that a sentinel watches."""
    (rows,) = await ask(source, host, port, [("SENTINEL", "MASTERS")])
    watched = {}
    for row in rows if isinstance(rows, list) else ():
        said = dict(zip(row[::2], row[1::2], strict=False)) if isinstance(row, list) else {}
        watched[said.get("name")] = said
    name = source.watched_name or (next(iter(watched)) if len(watched) == 1 else None)
    if name not in watched:
        names = " and ".join(sorted(str(known) for known in watched)) or "nothing"
        raise SourceUnusable(f"the sentinel {host}:{port} watches {names}; name one of them", passes=False)
    try:
        return str(watched[name]["ip"]), int(watched[name]["port"])
    except (KeyError, ValueError) as error:
        raise SourceUnusable(f"{host}:{port}: the reply of the sentinel is not readable", passes=False) from error


async def _info(source: Source, host: str, port: int) -> dict[str, str]:
    """Return the fields of all sections. They are requested one by one, because Redis before 7.0 takes one only."""
    replies = await ask(source, host, port, [("INFO", section) for section in _SECTIONS])
    try:
        return {name: value for reply in replies for name, value in fields(reply).items()}
    except Unreadable as error:
        raise SourceUnusable(f"{host}:{port}: {error}", passes=False) from error
