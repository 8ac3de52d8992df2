"""The nodes.conf of a node that has lost its own, from that of another member. Pure.

A node writes its view of the cluster into nodes.conf: a line for each member as in CLUSTER NODES, with the ports and
the shard of the member, and the epochs last.
"""

from collections.abc import Iterator

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


def only_member(node_id: str, address: str) -> str:
    """Return the nodes.conf of the only member of a cluster, which owns all slots.

    :param address: `host:port@bus port`.
    """
    line = f"{node_id} {address},,tls-port=0,shard-id={node_id} myself,master - 0 0 1 connected 0-{SLOTS - 1}"
    return f"{line}\nvars currentEpoch 1 lastVoteEpoch 0\n"


def _rewritten(text: str, node_id: str, primary_id: str | None) -> str:
    members = [line.split(" ") for line in text.split("\n") if line and not line.startswith("vars ")]
    if any(len(words) < _LEAST_WORDS for words in members):
        raise ValueError("a line of nodes.conf is too short")
    ids = {words[0] for words in members}
    for needed in (node_id, primary_id):
        if needed is not None and needed not in ids:
            raise ValueError(f"nodes.conf does not list node {needed}")
    lines = [" ".join(_member(words, node_id, primary_id)) for words in members]
    return "\n".join([*lines, _epochs(text), ""])


def _member(words: list[str], node_id: str, primary_id: str | None) -> Iterator[str]:
    """Yield the words of a line. Open slots are those of the other member, so they are left out."""
    flags = [flag for flag in words[2].split(",") if flag != "myself"]
    owned = [word for word in words[_SLOTS_FROM:] if not word.startswith("[")]
    if words[0] != node_id:
        yield from (words[0], words[1], ",".join(flags) or "noflags", *words[3:_SLOTS_FROM], *owned)
        return
    if primary_id is not None and owned:
        raise ValueError(f"node {node_id} still owns slots")
    followed = words[3] if primary_id is None else primary_id
    role = "master" if followed == "-" else "slave"
    yield from (node_id, words[1], f"myself,{role}", followed, "0", "0", words[6], "connected", *owned)


def _epochs(text: str) -> str:
    """The line of the epochs. The node counts as having voted in the present epoch: its last vote is unknown."""
    (line,) = [line for line in text.split("\n") if line.startswith("vars ")]
    words = line.split()
    epoch = words[words.index("currentEpoch") + 1]
    return f"vars currentEpoch {int(epoch)} lastVoteEpoch {int(epoch)}"
