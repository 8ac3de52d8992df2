"""Compares every cluster with the record, every few seconds: a cluster has its own members and no others.

Cheap while all is well: one node of each instance answers two short commands, a different node each time. Every few
rounds all nodes answer them, and one of them lists the members that it knows. Only where something differs from what is
expected do all nodes list them. Each instance is checked on its own, so that one that is slow delays no other.
"""

import asyncio
import logging
import time
from collections.abc import Sequence

import msgspec

from cachewright.concurrency import gather_limited
from cachewright.errors import DatabaseUnavailable
from cachewright.heartbeats import LoopHeartbeats
from cachewright.hosts.host import CONFIG
from cachewright.logs import about
from cachewright.model.incidents import FaultKind
from cachewright.model.instances import Node
from cachewright.monitoring.cluster_findings import Answer, Findings, find, refusal_of_credentials
from cachewright.monitoring.cluster_records import Records, Subject
from cachewright.monitoring.faults import RULES
from cachewright.monitoring.foreign_members import expel
from cachewright.monitoring.incidents import Incidents
from cachewright.operations.context import OperationContext
from cachewright.threads import in_background
from cachewright.valkey.client import NODE_GONE, NodeRefused
from cachewright.valkey.single_request import Command, fields, request_once
from cachewright.valkey.slots import SLOTS

log = logging.getLogger(__name__)

_ROUND_SECONDS = 2.0
_SECONDS_A_CHECK = 0.005
"""A round of many instances takes longer, so that their checks take some hundredths of a core together."""

_LIST_EVERY = 5
_SECONDS_A_LIST = 0.02
"""Lists of all nodes grow with the square of their number: a large cluster with a fault is listed less often."""

_ANSWER_SECONDS = 1.0
_SLOW_SECONDS = 0.5
_AT_ONCE = 32
_SLOW_AT_ONCE = 16
_NODES_AT_ONCE = 16
_EXPEL_SECONDS = 5.0
_EXPEL_PAUSE_SECONDS = 0.3
_MY_ID: Command = ("CLUSTER", "MYID")
_INFO: Command = ("CLUSTER", "INFO")
_OF_ONE_NODE: set[FaultKind] = {"credentials_refused", "node_id"}
_OF_OTHERS: set[FaultKind] = {"node_start"}
"""Faults that the supervisor reports."""


class _Watch(msgspec.Struct):
    """What is known of one instance from earlier checks.

    :ivar rounds: how often it was checked.
    :ivar next_lists: when all its nodes may list their members again while it has a fault.
    :ivar epoch: the cluster's epoch when all was well; it grows with every change of members' roles or slots.
    :ivar first_seen: since when each fault has been there, :ivar last_seen: when it was seen last.
    :ivar slow: its nodes took long to answer.
    """

    rounds: int
    next_lists: float = 0.0
    epoch: int | None = None
    first_seen: dict[FaultKind, float] = {}
    last_seen: dict[FaultKind, float] = {}
    slow: bool = False


class ClusterCheck:
    def __init__(self, site: OperationContext, incidents: Incidents, heartbeats: LoopHeartbeats) -> None:
        """:ivar forgotten: how often a node has forgotten a member that was not its cluster's."""
        self._site = site
        self._incidents = incidents
        self._heartbeats = heartbeats
        self._records = Records(site)
        self._subjects: dict[str, Subject] = {}
        self._state: object | None = None
        self._read_at = float("-inf")
        self._reading = asyncio.Lock()
        self._watches: dict[str, _Watch] = {}
        self._checks: dict[str, asyncio.Task[None]] = {}
        self._room = asyncio.Semaphore(_AT_ONCE)
        self._slow_room = asyncio.Semaphore(_SLOW_AT_ONCE)
        self.forgotten = 0

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                self._heartbeats.beat("cluster check")
                await self._refresh()
                await self._round(list(self._subjects))
        finally:
            for check in self._checks.values():
                check.cancel()

    async def _round(self, instance_ids: Sequence[str]) -> None:
        """Begins a check of each, spread over the time of a round."""
        seconds = max(_ROUND_SECONDS, len(instance_ids) * _SECONDS_A_CHECK)
        parts = min(len(instance_ids), int(seconds * 10)) or 1
        for part in range(parts):
            for instance_id in instance_ids[part::parts]:
                if instance_id not in self._checks:
                    self._checks[instance_id] = asyncio.create_task(self._check(instance_id))
            await asyncio.sleep(seconds / parts)

    async def _refresh(self) -> None:
        """Reads the record where the database has changed."""
        state = await self._site.database.change_counter()
        if state is not None and state == self._state:
            return
        await self._read(time.monotonic())
        self._state = state
        for gone in self._watches.keys() - self._subjects.keys():
            del self._watches[gone]
            for kind in self._incidents.kinds_of(gone) - _OF_OTHERS:
                self._incidents.clear(gone, kind)

    async def _read(self, after: float) -> None:
        """The record is from a time later than `after`."""
        async with self._reading:
            if self._read_at <= after:
                begun = time.monotonic()
                started = await self._site.host.nodes_with_file(CONFIG)
                self._subjects = await in_background(self._records.read, started)
                self._read_at = begun

    async def _check(self, instance_id: str) -> None:
        watch = self._watches.setdefault(instance_id, _Watch(hash(instance_id) % _LIST_EVERY))
        try:
            async with self._slow_room if watch.slow else self._room:
                begun = time.monotonic()
                with about(instance_id=instance_id):
                    await self._checked(instance_id, watch)
                watch.slow = time.monotonic() - begun > _SLOW_SECONDS
        except DatabaseUnavailable as error:
            log.warning("instance %s is not checked: the database does not take it: %s", instance_id, error)
        except Exception:
            log.exception("the check of instance %s was interrupted", instance_id)
        finally:
            del self._checks[instance_id]

    async def _checked(self, instance_id: str, watch: _Watch) -> None:
        subject = self._subjects.get(instance_id)
        if subject is None:
            return
        watch.rounds += 1
        suspected = watch.first_seen or self._incidents.kinds_of(instance_id) - _OF_OTHERS
        if suspected and time.monotonic() < watch.next_lists:
            return
        if not suspected and await _is_well(subject, watch):
            return
        watch.next_lists = time.monotonic() + len(subject.record.nodes) * _SECONDS_A_LIST
        found = await self._found(subject)
        if found is None:
            return
        subject, answers, findings = found
        self._weigh(subject, answers, findings, watch)
        if findings.forgetful or findings.captured:
            await self._expel(subject, findings)
        elif "missing_member" in self._incidents.kinds_of(instance_id):
            await _introduce(subject, findings)

    async def _found(self, subject: Subject) -> tuple[Subject, list[Answer], Findings] | None:
        """What all nodes answer, compared with a record that is not older than the answers where they differ from it:
        a task may have added or taken away nodes since it was read. None where the instance is gone."""
        answers = await _ask_all(subject)
        findings = find(subject.record, answers)
        if not findings.faults and not findings.forgetful:
            return subject, answers, findings
        await self._read(time.monotonic())
        again = self._subjects.get(subject.instance_id)
        return (again, answers, find(again.record, answers)) if again else None

    def _weigh(self, subject: Subject, answers: Sequence[Answer], findings: Findings, watch: _Watch) -> None:
        """Reports faults that have been there for long enough, and clears those that are over."""
        now, instance_id = time.monotonic(), subject.instance_id
        for kind, detail in findings.faults.items():
            first = watch.first_seen.setdefault(kind, now)
            watch.last_seen[kind] = now
            confirm = RULES[kind].confirm_seconds
            if not confirm or (first < now and now - first >= confirm):
                self._incidents.report(instance_id, kind, detail)
        for kind in watch.first_seen.keys() - findings.faults.keys():
            del watch.first_seen[kind]
        for kind in self._incidents.kinds_of(instance_id) - findings.faults.keys() - _OF_OTHERS:
            over = now - watch.last_seen.setdefault(kind, now) >= RULES[kind].hold_seconds
            if over and _conclusive(kind, subject, answers):
                self._incidents.clear(instance_id, kind)
        views = [answer.view for answer in answers if answer.view]
        watch.epoch = max(view.epoch for view in views) if views and not findings.faults else None

    async def _expel(self, subject: Subject, findings: Findings) -> None:
        """Repeats it until no node knows a foreign member, within a limit; the next check goes on."""
        for member in findings.foreign.values():
            log.error("instance %s: foreign member %s at %s", subject.instance_id, member.id, member.address)
        deadline = time.monotonic() + _EXPEL_SECONDS
        while findings.forgetful or findings.captured:
            self.forgotten += await expel(findings, subject.access)
            if time.monotonic() > deadline:
                return
            await asyncio.sleep(_EXPEL_PAUSE_SECONDS)
            found = await self._found(subject)
            if found is None:
                return
            subject, _, findings = found


async def _is_well(subject: Subject, watch: _Watch) -> bool:
    """Whether nothing is to be looked at more closely. While a task changes the cluster, its numbers are not known
    beforehand: the node whose turn it is lists its members then."""
    record = subject.record
    node = record.nodes[watch.rounds % len(record.nodes)]
    due = watch.epoch is None or watch.rounds % _LIST_EVERY == 0 or not subject.topology.has_peers
    asked = [node]
    if due or not record.idle:
        answer = await _answer(node, subject)
        findings = find(record, [answer])
        if findings.faults or findings.forgetful or answer.view is None:
            return False
        watch.epoch = answer.view.epoch
        asked = [other for other in record.nodes if other is not node] if record.idle else []
    return all(await gather_limited(lambda node: _finds_all_well(node, subject, watch.epoch), asked, _NODES_AT_ONCE))


async def _finds_all_well(node: Node, subject: Subject, epoch: int | None) -> bool:
    try:
        my_id, info = await request_once(node, subject.access, [_MY_ID, _INFO], _ANSWER_SECONDS)
        said = fields(info)
        return (
            my_id == node.id
            and said["cluster_state"] == "ok"
            and int(said["cluster_known_nodes"]) == len(subject.record.nodes)
            and int(said["cluster_slots_assigned"]) == SLOTS
            and int(said["cluster_slots_fail"]) == 0
            and int(said["cluster_current_epoch"]) == epoch
        )
    except (*NODE_GONE, NodeRefused, KeyError, ValueError):
        return False


async def _ask_all(subject: Subject) -> list[Answer]:
    return await gather_limited(lambda node: _answer(node, subject), subject.record.nodes, _NODES_AT_ONCE)


async def _answer(node: Node, subject: Subject) -> Answer:
    try:
        view = await subject.topology.view(node, subject.access, _ANSWER_SECONDS)
        return Answer(node=node, my_id=view.own_id, view=view)
    except NodeRefused as refusal:
        words = str(refusal)
        return Answer(node=node, refused=words if refusal_of_credentials(words) else None)
    except NODE_GONE:
        return Answer(node=node)


async def _introduce(subject: Subject, findings: Findings) -> None:
    """Tells nodes of members that they do not know, where that can change the owner of no slot."""
    for node, gone in findings.meetings:
        log.warning("instance %s: node %s is told of node %s again", subject.instance_id, node.id, gone.id)
        try:
            meet: Command = ("CLUSTER", "MEET", gone.host, str(gone.peer_port), str(gone.bus_port))
            await request_once(node, subject.access, [meet], _ANSWER_SECONDS)
        except (*NODE_GONE, NodeRefused) as failure:
            log.warning("node %s does not meet node %s: %s", node.id, gone.id, failure)


def _conclusive(kind: FaultKind, subject: Subject, answers: Sequence[Answer]) -> bool:
    """Whether these answers, which do not show the fault, prove that it is over."""
    views = {answer.node.id for answer in answers if answer.view and answer.is_itself}
    if kind in _OF_ONE_NODE:
        return all(node.id in views for node in subject.record.steady)
    return bool(views)
