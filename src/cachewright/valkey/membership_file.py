"""The nodes.conf of a node that has lost its own, or that joins, from that of another member. Pure.

A node writes its view of the cluster into nodes.conf: a line for each member as in CLUSTER NODES, with the ports and
the shard of the member, and the epochs last.
"""

from collections.abc import Collection, Iterator

from cachewright.valkey.slots import SLOTS

NODES_CONF = "nodes.conf"
_SLOTS_FROM = 8
_LEAST_WORDS = 8


def as_member(text: str, node_id: str) -> str:
    """Return the nodes.conf of a member in the view of another one: with the role and the slots that the other knows.
    ValueError if the text does not list the member."""
    return _rewritten(text, node_id, None)


def as_replica(text: str, node_id: str, primary_id: str) -> str:
    """Return the nodes.conf of a member that becomes a replica of `primary_id`. ValueError if the text does not list
    both, or if the member owns slots: its keys would be lost."""
    return _rewritten(text, node_id, primary_id)


def with_members(own: str, known: str, member_ids: Collection[str]) -> str:
    """Return the nodes.conf of a new node that knows the members of a cluster before they know it.

    :param own: its nodes.conf without any member.
    :param known: the nodes.conf of a member, whose view is complete.
    :param member_ids: ids of the members. Others are left out, and so are those that have no address yet.
    :raises ValueError: if a file is damaged.
    """
    listed = [
        *_members(own),
        *([*_other(words)] for words in _members(known) if words[0] in member_ids and not _is_new(words)),
    ]
    return "\n".join([*(" ".join(words) for words in listed), _epochs(known), ""])


def only_member(node_id: str, address: str) -> str:
    """Return the nodes.conf of the only member of a cluster, which owns all slots.

    :param address: `host:port@bus port`.
    """
    line = f"{node_id} {address},,tls-port=0,shard-id={node_id} myself,master - 0 0 1 connected 0-{SLOTS - 1}"
    return f"{line}\nvars currentEpoch 1 lastVoteEpoch 0\n"


def _rewritten(text: str, node_id: str, primary_id: str | None) -> str:
    members = _members(text)
    ids = {words[0] for words in members}
    for needed in (node_id, primary_id):
        if needed is not None and needed not in ids:
            raise ValueError(f"nodes.conf does not list node {needed}")
    lines = [" ".join(_member(words, node_id, primary_id)) for words in members]
    return "\n".join([*lines, _epochs(text), ""])


def _members(text: str) -> list[list[str]]:
    """The words of each member's line. ValueError if one is too short."""
    members = [line.split(" ") for line in text.split("\n") if line and not line.startswith("vars ")]
    if any(len(words) < _LEAST_WORDS for words in members):
        raise ValueError("a line of nodes.conf is too short")
    return members


def _member(words: list[str], node_id: str, primary_id: str | None) -> Iterator[str]:
    """Yield the words of a line."""
    if words[0] != node_id:
        yield from _other(words)
        return
    owned = _owned(words)
    if primary_id is not None and owned:
        raise ValueError(f"node {node_id} still owns slots")
    followed = words[3] if primary_id is None else primary_id
    role = "master" if followed == "-" else "slave"
    yield from (node_id, words[1], f"myself,{role}", followed, "0", "0", words[6], "connected", *owned)


def _other(words: list[str]) -> Iterator[str]:
    """Yield the words of a line in the view of another node."""
    flags = [flag for flag in words[2].split(",") if flag != "myself"]
    yield from (words[0], words[1], ",".join(flags) or "noflags", *words[3:_SLOTS_FROM], *_owned(words))


def _owned(words: list[str]) -> list[str]:
    """The slots of a line. Open slots are those of the node that wrote it, so they are left out."""
    return [word for word in words[_SLOTS_FROM:] if not word.startswith("[")]


def _is_new(words: list[str]) -> bool:
    return bool({"handshake", "noaddr"} & {*words[2].split(",")})


def _epochs(text: str) -> str:
    """The line of the epochs. The node counts as having voted in the present epoch: its last vote is unknown."""
    lines = [line for line in text.split("\n") if line.startswith("vars ")]
    if len(lines) != 1:
        raise ValueError("nodes.conf does not tell the epochs")
    words = lines[0].split()
    epoch = words[words.index("currentEpoch") + 1]
    return f"vars currentEpoch {int(epoch)} lastVoteEpoch {int(epoch)}"
