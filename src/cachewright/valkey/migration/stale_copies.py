"""Remove copies of keys that an interrupted MIGRATE may have left on the target.

MIGRATE deletes a key on the source when the target has confirmed it. If the target does not answer in time, the source
keeps the key, and the target may have a copy, or store one later. The key on the source is the valid one: the source
serves every key that it has, so no client can have changed the copy.

If a client deletes such a key on the source, the copy would bring it back. Therefore the interrupted keys are recorded
with their values at that moment: a copy with the same value is stale, although the source has no such key any more.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from cachewright.valkey.acl import CONTROL_USER
from cachewright.valkey.client import NodeBusy, NodeRefused
from cachewright.valkey.migration.key_values import DELETE_IF_SAME, READ
from cachewright.valkey.session import Session


class InterruptedKeys(msgspec.Struct, frozen=True):
    """Keys of an interrupted MIGRATE, with their values as `key_values` reads them. They are from one slot."""

    slot: int
    values: Mapping[bytes, tuple[bytes, ...]]


_AT_ONCE = 100
_MIGRATE_CONNECTION = re.compile(
    rb"^id=(\d+) .* name= .* cmd=(?:restore-asking|select|auth) user=%s " % CONTROL_USER.encode(), re.MULTILINE
)
_EXISTING_SCRIPT = """
local present = {}
for _, key in ipairs(ARGV) do
  if redis.call('EXISTS', key) == 1 then present[#present + 1] = key end
end
return present
"""


async def remove_stale(source: Session, target: Session, slot: int, suspects: InterruptedKeys | None) -> None:
    """Remove stale copies of keys of an open slot from the target. Raises one of NODE_GONE or NodeRefused."""
    await _end_interrupted(target)
    for key, value in suspects.values.items() if suspects and suspects.slot == slot else ():
        await _delete_if_same(target, key, value)
    if not await target.ask("CLUSTER", "COUNTKEYSINSLOT", slot):
        return
    for key in await _on_both(source, target, slot):
        await target.ask("ASKING")
        copy = await target.ask("EVAL_RO", READ, 1, key)
        # If the source still has the key, no client was sent to the target for it before the copy was read.
        if copy is not None and await _has(source, key):
            await _delete_if_same(target, key, copy)


async def _end_interrupted(target: Session) -> None:
    """Close connections of MIGRATE commands, so that the target executes nothing that they have sent before."""
    for connection in _MIGRATE_CONNECTION.findall(await target.ask("CLIENT", "LIST", "TYPE", "normal")):
        await target.ask("CLIENT", "KILL", "ID", connection)


async def _on_both(source: Session, target: Session, slot: int) -> list[bytes]:
    count = await source.ask("CLUSTER", "COUNTKEYSINSLOT", slot)
    keys = await source.ask("CLUSTER", "GETKEYSINSLOT", slot, count)
    found: list[bytes] = []
    for part in _parts(keys):
        await target.ask("ASKING")
        found += await target.ask("EVAL_RO", _EXISTING_SCRIPT, 0, *part)
    return found


async def _has(source: Session, key: bytes) -> bool:
    """Whether the source has the key. If not, it replies with ASK. Raises NodeBusy."""
    try:
        return bool(await source.ask("EXISTS", key))
    except NodeBusy:
        raise
    except NodeRefused:
        return False


async def _delete_if_same(target: Session, key: bytes, value: Sequence[bytes]) -> None:
    await target.ask("ASKING")
    await target.ask("EVAL", DELETE_IF_SAME, 1, key, *value)


def _parts(keys: list[bytes]) -> Iterable[list[bytes]]:
    return (keys[start : start + _AT_ONCE] for start in range(0, len(keys), _AT_ONCE))
