"""What is wrong with a cluster: its nodes' answers compared with the record. Pure."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import msgspec

from cachewright.model.incidents import FaultKind
from cachewright.model.instances import Node
from cachewright.model.tasks import Step
from cachewright.valkey.config import placeholder_addresses, placeholder_primary
from cachewright.valkey.slots import SLOTS, SlotRange
from cachewright.valkey.topology import Member, View

_REFUSALS = ("WRONGPASS", "NOAUTH", "NOPERM")
_ADDS_OR_REMOVES = {"start node", "release node", "stop node", "move node", "replace lost node"}
_RESTARTS = {"restart node", "rebuild node", "restore membership", "load data"}
_LISTED = 3
"""Maximum number of nodes that a detail names; it counts the others."""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """An instance's cluster as recorded in the database.

    :ivar former: ids of nodes that were removed from the instance recently.
    :ivar changing: ids of nodes that a task adds, removes or restarts now.
    :ivar idle: no task is running or waiting.
    """

    nodes: Sequence[Node]
    former: frozenset[str] = frozenset()
    changing: frozenset[str] = frozenset()
    idle: bool = True

    @property
    def ids(self) -> frozenset[str]:
        return frozenset(node.id for node in self.nodes)

    def is_placeholder(self, node: Node, member: Member) -> bool:
        """Whether the member, in the view of the node, is the placeholder primary of the node while it is new. Any
        process can compute the id of a placeholder, so its address must be one that no real member has."""
        new = node.id in self.changing
        return new and member.id == placeholder_primary(node) and member.address in placeholder_addresses(node)

    @property
    def is_stopped(self) -> bool:
        """The owner has stopped every node, and no task changes that."""
        return self.idle and not any(node.should_run for node in self.nodes)

    @property
    def steady(self) -> list[Node]:
        """Nodes that should be healthy members now."""
        return [node for node in self.nodes if node.should_run and node.id not in self.changing]


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """Answer of one node of the record.

    :ivar my_id: the id that the node reports; None if it did not respond.
    :ivar refused: the node's error if it rejects the control plane's credentials, else None.
    """

    node: Node
    my_id: str | None = None
    view: View | None = None
    refused: str | None = None

    @property
    def is_itself(self) -> bool:
        return self.my_id == self.node.id


class Findings(msgspec.Struct, frozen=True, kw_only=True):
    """Differences between a cluster and its record.

    :ivar faults: description of each fault, by kind.
    :ivar foreign: members that do not belong to the instance, by id.
    :ivar forgetful: nodes with the ids of members that they must forget.
    :ivar captured: nodes that follow a foreign primary, each with the primary of its shard to follow instead.
    :ivar meetings: pairs of nodes of which the first does not know the second and can be introduced to it safely.
    """

    faults: Mapping[FaultKind, str]
    foreign: Mapping[str, Member]
    forgetful: Sequence[tuple[Node, tuple[str, ...]]]
    captured: Sequence[tuple[Node, Node | None]]
    meetings: Sequence[tuple[Node, Node]]


def find(record: Record, answers: Sequence[Answer]) -> Findings:
    """Compare the answers of all nodes of the record with the record."""
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


def in_both(before: Findings, after: Findings) -> Findings:
    """Return the differences of the same answers from a record read before them and from one read after them. A task
    that adds or removes nodes meanwhile makes the answers differ from one of the two."""
    unknown = {node.id: set(ids) for node, ids in before.forgetful}
    captured_before = {node.id for node, _ in before.captured}
    forgetful = [
        (node, common)
        for node, ids in after.forgetful
        if (common := tuple(node_id for node_id in ids if node_id in unknown.get(node.id, ())))
    ]
    return Findings(
        faults={kind: detail for kind, detail in after.faults.items() if kind in before.faults},
        foreign={node_id: member for node_id, member in after.foreign.items() if node_id in before.foreign},
        forgetful=forgetful,
        captured=[(node, leader) for node, leader in after.captured if node.id in captured_before],
        meetings=after.meetings,
    )


def changing_nodes(steps: Iterable[Step]) -> frozenset[str]:
    """Ids of nodes that the task with these steps adds, removes or restarts now."""
    found: set[str] = set()
    for sub_step in (sub for step in steps for sub in step.sub_steps):
        adds_or_removes = sub_step.action in _ADDS_OR_REMOVES
        restarts = sub_step.action in _RESTARTS and sub_step.status == "EXECUTING"
        if adds_or_removes or restarts:
            found.add(sub_step.arguments["node_id"])
    return frozenset(found)


def rejects_credentials(message: str) -> bool:
    """Whether an error means rejected credentials, and not only a command rejected while the node loads its data."""
    return message.startswith(_REFUSALS)


def _faults(
    record: Record, answers: Sequence[Answer], steady: Sequence[tuple[Node, View]], foreign: Mapping[str, Member]
) -> Iterator[tuple[FaultKind, str]]:
    yield from stopped(record)
    if foreign:
        yield (
            "foreign_member",
            listed(f"member {_described(member)} does not belong to the instance" for member in foreign.values()),
        )
    yield from of_answers(record, answers)
    if renamed := [answer for answer in answers if answer.my_id and not answer.is_itself]:
        yield "node_id", listed(f"node {answer.node.id} reports another id, {answer.my_id}" for answer in renamed)
    own = {node.id for node in record.nodes}
    if gaps := [(node, count) for node, view in steady if (count := _covered(view, own)) < SLOTS]:
        yield (
            "uncovered_slots",
            listed(f"node {node.id} knows owners of {count} of {SLOTS} slots" for node, count in gaps),
        )
    if missing := [(node, other) for node, view in steady for other in record.steady if other.id not in view.members]:
        yield "missing_member", listed(f"node {node.id} does not know node {other.id}" for node, other in missing)
    if failed := {member.id for _, view in steady for member in view.members.values() if _has_failed(member, own)}:
        yield (
            "failed_primary",
            listed(f"primary {node_id} has failed and no replica took over" for node_id in sorted(failed)),
        )
    if not_ok := [node for node, view in steady if not view.ok]:
        yield "cluster_state", listed(f"node {node.id} reports that the instance has failed" for node in not_ok)


def of_answers(record: Record, answers: Sequence[Answer]) -> Iterator[tuple[FaultKind, str]]:
    """Yield faults that instances of all kinds can have."""
    if refusing := [answer for answer in answers if answer.refused]:
        yield (
            "credentials_refused",
            listed(f"node {answer.node.id} rejects the control plane: {answer.refused}" for answer in refusing),
        )
    if record.steady and not any(answer.my_id or answer.refused for answer in answers):
        yield "no_answer", "no node responds"


def stopped(record: Record) -> Iterator[tuple[FaultKind, str]]:
    """Nodes that the owner has stopped. A shard without a running node serves nothing."""
    stopped = [node for node in record.nodes if not node.should_run and node.id not in record.changing]
    if stopped and record.idle:
        running = {node.shard for node in record.nodes if node.should_run}
        kind: FaultKind = "stopped_nodes" if running >= {node.shard for node in stopped} else "stopped_shards"
        yield kind, listed([f"node {node.id} of shard {node.shard} is stopped" for node in stopped])


def _unknown(record: Record, ids: Collection[str], node: Node, view: View) -> tuple[str, ...]:
    """Ids of members of the node's view that it must forget. Members in a handshake have a temporary id, and a node
    cannot forget itself."""
    ignored = {"handshake", "myself"}
    others = [member for member in view.members.values() if member.id not in ids and not member.flags & ignored]
    return tuple(member.id for member in others if not record.is_placeholder(node, member))


def _foreign(
    former: Collection[str], forgetful: Sequence[tuple[Node, tuple[str, ...]]], views: Mapping[str, View]
) -> dict[str, Member]:
    """Members to report. Nodes that were removed recently are also forgotten, but only reported if they own slots."""
    found: dict[str, Member] = {}
    for node, ids in forgetful:
        for node_id in ids:
            earlier, member = found.get(node_id), views[node.id].members[node_id]
            if (node_id not in former or member.slots) and not (earlier and earlier.slots):
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
        if primary not in view.members or not record.is_placeholder(node, view.members[primary]):
            yield node, leads.get(node.shard)


def _meetings(record: Record, steady: Sequence[tuple[Node, View]]) -> Iterator[tuple[Node, Node]]:
    """Pairs of nodes to introduce. A meeting cannot change owners of slots if no slot of the second node belongs to a
    third node in the view of the first."""
    views = {node.id: view for node, view in steady}
    for node, view in steady:
        for other in record.steady:
            if other.id in view.members or other.id not in views:
                continue
            others = [part for member in view.members.values() for part in member.slots]
            if not _overlap(views[other.id].members[other.id].slots, others):
                yield node, other


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


def listed(sentences: Iterator[str] | Sequence[str]) -> str:
    all_sentences = list(sentences)
    more = f"; and {len(all_sentences) - _LISTED} more" if len(all_sentences) > _LISTED else ""
    return "; ".join(all_sentences[:_LISTED]) + more
