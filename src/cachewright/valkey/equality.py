"""Compare and merge named definitions that should be equal on all nodes of an instance, such as function libraries.

Pure. The content of a definition does not matter here.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec

Definitions = Mapping[str, bytes]
"""Definitions of one node, by name."""


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """Difference between the definitions that a node has and those that it should have.

    :ivar missing: definitions that it lacks.
    :ivar different: definitions that it has in another version; the values are those that it should have.
    :ivar extra: names of definitions that it should not have.
    """

    missing: Definitions
    different: Definitions
    extra: frozenset[str]

    def __bool__(self) -> bool:
        return bool(self.missing or self.different or self.extra)

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self.missing) | frozenset(self.different) | self.extra


def compare(wanted: Definitions, present: Definitions) -> Difference:
    """Compare what a node has with what it should have."""
    return Difference(
        missing={name: value for name, value in wanted.items() if name not in present},
        different={name: value for name, value in wanted.items() if present.get(name, value) != value},
        extra=frozenset(present.keys() - wanted.keys()),
    )


def merged(of_nodes: Sequence[Definitions], preferred: Definitions | None = None) -> dict[str, bytes]:
    """Return every definition that any of the nodes has. Of several versions of one, the version that most nodes have
    counts; of several such versions the one of `preferred` if it is among them, else the one with the lowest hash."""
    preferred = preferred or {}

    def chosen(name: str) -> bytes:
        versions = Counter(node[name] for node in of_nodes if name in node)
        most = max(versions.values())
        common = [version for version, count in versions.items() if count == most]
        return preferred[name] if preferred.get(name) in common else min(common, key=_hash)

    return {name: chosen(name) for name in sorted({name for node in of_nodes for name in node})}


def hashed(definitions: Definitions) -> dict[str, bytes]:
    """Return a hash in place of each definition. Hashes can be compared like definitions, and are short."""
    return {name: hashlib.sha256(definition).digest() for name, definition in definitions.items()}


def _hash(definition: bytes) -> str:
    return hashlib.sha256(definition).hexdigest()
