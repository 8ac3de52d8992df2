"""What is wrong with a cluster: its nodes' answers compared with the record. Pure."""

from collections.abc import Collection, Iterator, Mapping, Sequence

import msgspec

from cachewright.model.incidents import FaultKind
from cachewright.model.instances import Node
from cachewright.model.tasks import Task
from cachewright.valkey.config import placeholder_addresses, placeholder_primary
from cachewright.valkey.slots import SLOTS, SlotRange
from cachewright.valkey.topology import Member, View

_REFUSALS = ("WRONGPASS", "NOAUTH", "NOPERM")
_COMES_OR_GOES = {"start node", "release node", "stop node"}
_LISTED = 3
"""So many nodes are named in a detail; the others are counted."""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """An instance's cluster as the database has it.

    :ivar former: ids of nodes that were the instance's a short while ago.
    :ivar changing: nodes that a task adds, takes away or restarts now.
    :ivar idle: no task is running or waiting.
    """

    nodes: Sequence[Node]
    former: frozenset[str] = frozenset()
    changing: frozenset[str] = frozenset()
    idle: bool = True

    @property
    def ids(self) -> frozenset[str]:
        return frozenset(node.id for node in self.nodes)

    def stand_in_of(self, node: Node, member: Member) -> bool:
        """Whether the member, in the node's view, is the stand-in that the node has while it is new. Any process
        can compute the id of a stand-in, so its address must be one that no real member has."""
        new = node.id in self.changing
        return new and member.id == placeholder_primary(node) and member.address in placeholder_addresses(node)

    @property
    def steady(self) -> list[Node]:
        """Nodes that should be members in good order now."""
        return [node for node in self.nodes if node.should_run and node.id not in self.changing]


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What one node of the record answered.

    :ivar my_id: the id that it says it has; None where it does not answer.
    :ivar refused: the words in which it refuses the control plane; None where it does not.
    """

    node: Node
    my_id: str | None = None
    view: View | None = None
    refused: str | None = None

    @property
    def is_itself(self) -> bool:
        return self.my_id == self.node.id


class Findings(msgspec.Struct, frozen=True, kw_only=True):
    """:ivar faults: what is wrong, with a sentence about it.
    :ivar foreign: members that are not the instance's, by id.
    :ivar forgetful: for each node that knows a member that it is to forget, the ids.
    :ivar captured: nodes that follow a foreign primary, each with the primary of its shard that it can follow instead.
    :ivar meetings: pairs of nodes of which the first does not know the second, and can be told of it safely.
    """

    faults: Mapping[FaultKind, str]
    foreign: Mapping[str, Member]
    forgetful: Sequence[tuple[Node, tuple[str, ...]]]
    captured: Sequence[tuple[Node, Node | None]]
    meetings: Sequence[tuple[Node, Node]]


def find(record: Record, answers: Sequence[Answer]) -> Findings:
    """Compares what all nodes of the record answered with the record."""
    views = [(answer.node, answer.view) for answer in answers if answer.view and answer.is_itself]
    views = [(node, view) for node, view in views if node.id in view.members]
    steady_ids = {node.id for node in record.steady}
    steady = [(node, view) for node, view in views if node.id in steady_ids]
    ids = record.ids
    forgetful = [(node, unknown) for node, view in views if (unknown := _unknown(record, ids, node, view))]
    foreign = _foreign(record.former, forgetful, {node.id: view for node, view in views})
    return Findings(
        faults=dict(_faults(record, answers, steady, foreign)),
        foreign=foreign,
        forgetful=forgetful,
        captured=list(_captured(record, ids, views)),
        meetings=[] if foreign or not record.idle else list(_meetings(record, steady)),
    )


def changing_nodes(task: Task) -> frozenset[str]:
    """Nodes that the task adds, takes away or restarts now."""
    found: set[str] = set()
    for sub_step in (sub for step in task.steps for sub in step.sub_steps):
        comes_or_goes = sub_step.action in _COMES_OR_GOES
        restarts = sub_step.action == "restart node" and sub_step.status == "EXECUTING"
        if comes_or_goes or restarts:
            found.add(sub_step.arguments["node_id"])
    return frozenset(found)


def refusal_of_credentials(refusal: str) -> bool:
    """The node refuses the control plane itself, and not just a command while it loads its data."""
    return refusal.startswith(_REFUSALS)


def _faults(
    record: Record, answers: Sequence[Answer], steady: Sequence[tuple[Node, View]], foreign: Mapping[str, Member]
) -> Iterator[tuple[FaultKind, str]]:
    if foreign:
        yield (
            "foreign_member",
            _told(f"member {_described(member)} is not the instance's" for member in foreign.values()),
        )
    if refusing := [answer for answer in answers if answer.refused]:
        yield (
            "credentials_refused",
            _told(f"node {answer.node.id} refuses the control plane: {answer.refused}" for answer in refusing),
        )
    if renamed := [answer for answer in answers if answer.my_id and not answer.is_itself]:
        yield "node_id", _told(f"node {answer.node.id} says that its id is {answer.my_id}" for answer in renamed)
    if record.steady and not any(answer.my_id or answer.refused for answer in answers):
        yield "no_answer", "no node answers"
    own = {node.id for node in record.nodes}
    if gaps := [(node, count) for node, view in steady if (count := _covered(view, own)) < SLOTS]:
        yield (
            "uncovered_slots",
            _told(f"node {node.id} knows owners of {count} of {SLOTS} slots" for node, count in gaps),
        )
    if missing := [(node, gone) for node, view in steady for gone in record.steady if gone.id not in view.members]:
        yield "missing_member", _told(f"node {node.id} does not know node {gone.id}" for node, gone in missing)
    if failed := {member.id for _, view in steady for member in view.members.values() if _has_failed(member, own)}:
        yield (
            "failed_primary",
            _told(f"primary {node_id} has failed and nothing took over" for node_id in sorted(failed)),
        )
    if not_ok := [node for node, view in steady if not view.ok]:
        yield "cluster_state", _told(f"node {node.id} finds that the instance is not ok" for node in not_ok)


def _unknown(record: Record, ids: Collection[str], node: Node, view: View) -> tuple[str, ...]:
    """Members of the node's view that are to be forgotten. A member in its handshake has no id of its own yet; the node
    itself cannot be forgotten by itself."""
    passing = {"handshake", "myself"}
    others = [member for member in view.members.values() if member.id not in ids and not member.flags & passing]
    return tuple(member.id for member in others if not record.stand_in_of(node, member))


def _foreign(
    former: Collection[str], forgetful: Sequence[tuple[Node, tuple[str, ...]]], views: Mapping[str, View]
) -> dict[str, Member]:
    """Nodes that were the instance's a short while ago are forgotten too; they are reported only if they own slots."""
    found: dict[str, Member] = {}
    for node, ids in forgetful:
        for node_id in ids:
            known, member = found.get(node_id), views[node.id].members[node_id]
            if (node_id not in former or member.slots) and not (known and known.slots):
                found[node_id] = member
    return found


def _captured(
    record: Record, ids: Collection[str], views: Sequence[tuple[Node, View]]
) -> Iterator[tuple[Node, Node | None]]:
    leads = {
        node.shard: node for node, view in views if view.members[node.id].slots and not view.members[node.id].primary
    }
    for node, view in views:
        primary = view.members[node.id].primary
        if primary is None or primary in ids:
            continue
        if primary not in view.members or not record.stand_in_of(node, view.members[primary]):
            yield node, leads.get(node.shard)


def _meetings(record: Record, steady: Sequence[tuple[Node, View]]) -> Iterator[tuple[Node, Node]]:
    """A node that has no slot which the other one believes to be a third's may be met: nothing changes its owner by
    it."""
    views = {node.id: view for node, view in steady}
    for node, view in steady:
        for gone in record.steady:
            if gone.id in view.members or gone.id not in views:
                continue
            others = [part for member in view.members.values() for part in member.slots]
            if not _overlap(views[gone.id].members[gone.id].slots, others):
                yield node, gone


def _covered(view: View, own: Collection[str]) -> int:
    return sum(len(part) for member in view.members.values() if member.id in own for part in member.slots)


def _has_failed(member: Member, own: Collection[str]) -> bool:
    return member.id in own and bool(member.slots) and "fail" in member.flags


def _overlap(some: Sequence[SlotRange], others: Sequence[SlotRange]) -> bool:
    return any(one.first <= other.last and other.first <= one.last for one in some for other in others)


def _described(member: Member) -> str:
    owned = ", ".join(f"{part.first}-{part.last}" for part in member.slots[:_LISTED])
    more = ", ..." if len(member.slots) > _LISTED else ""
    slots = f"owns slots {owned}{more}" if owned else "owns no slots"
    return f"{member.id} at {member.address} ({slots})"


def _told(sentences: Iterator[str] | Sequence[str]) -> str:
    every = list(sentences)
    more = f"; and {len(every) - _LISTED} more" if len(every) > _LISTED else ""
    return "; ".join(every[:_LISTED]) + more
