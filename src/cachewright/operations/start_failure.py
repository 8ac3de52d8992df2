"""Why a node does not start, from the last lines of its log, and what can be done. Pure.

Source: messages of Valkey 9.1 at level warning, as observed.
"""

import re
from typing import Literal

import msgspec

Damage = Literal["membership", "data", "none"]
"""What is damaged: the file with the members of the cluster, the data or the folder, or nothing: a port is taken."""

_PATTERNS: tuple[tuple[str, Damage, str], ...] = (
    (r"corrupted cluster config file", "membership", "its nodes.conf is damaged"),
    (r"[Bb]ad file format reading the append only file", "data", "its append-only file is damaged"),
    (r"Unrecoverable error reading the append only file", "data", "its append-only file cannot be read"),
    (r"Unexpected end of file reading the append only file", "data", "its append-only file is cut off"),
    (r"Invalid AOF manifest file format|manifest.*(invalid|corrupt)", "data", "the manifest of its data is damaged"),
    (r"AOF.*(doesn't exist|does not exist)", "data", "a part of its append-only file is missing"),
    (r"append[- ]only.*(Input/output error|Permission denied)", "data", "its append-only file cannot be read"),
    (r"Fatal error loading the DB|Wrong signature trying to load DB|Internal error in RDB reading", "data",
     "its data is damaged"),
    (r"Terminating server after rdb file reading failure|rdb.*CRC error", "data", "its data is damaged"),
    (r"its files are missing", "data", "its files are missing"),
    (r"Address already in use|Unable to listen on|Failed listening on", "none", "its port is taken"),
    (r"No space left on device", "none", "the disk is full"),
)  # fmt: skip
_SHOWN = 200


class StartFailure(msgspec.Struct, frozen=True):
    """:ivar cause: text for messages, such as "its port is taken"."""

    damage: Damage
    cause: str


FILES_MISSING = StartFailure("data", "its files are missing")


def start_failure(log: str) -> StartFailure:
    """Return the cause that the last lines of a node's log, or the error of its start, name."""
    for pattern, damage, cause in _PATTERNS:
        if re.search(pattern, log):
            return StartFailure(damage, cause)
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    return StartFailure("none", lines[-1][-_SHOWN:] if lines else "it gives no reason")


def way_out(failure: StartFailure, *, has_other: bool) -> str:
    """Return what happens next, or what the operator can do. `has_other`: another node of the shard runs."""
    if failure.damage == "none":
        return "Remove the cause; the start is repeated every 30 s"
    if failure.damage == "membership" or has_other:
        return "A task RebuildNode repairs it; `instances nodes rebuild` starts one at once"
    return (
        "No other node has its data: restore its folder from a copy of the disk, or delete the instance. "
        "`valkey-check-aof --fix` cuts off all writes after the damage"
    )
