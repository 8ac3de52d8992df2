"""Compares every cluster with the record every few seconds.

A round costs two short commands to one node of each healthy instance, a different node each time. Every few rounds,
all nodes get these commands and one node lists the members that it knows. After a difference, all nodes list their
members. Instances are checked independently, so that a slow one delays no other.
"""

import asyncio
import logging
import time
from collections.abc import Sequence, Set

import msgspec

from cachewright.concurrency import gather_limited
from cachewright.errors import DatabaseUnavailable
from cachewright.heartbeats import LoopHeartbeats
from cachewright.hosts.host import CONFIG
from cachewright.logs import about
from cachewright.model.incidents import FaultKind
from cachewright.model.instances import Node
from cachewright.monitoring.cluster_findings import Answer, Findings, find, in_both, rejects_credentials
from cachewright.monitoring.cluster_records import Records, Subject
from cachewright.monitoring.faults import RULES
from cachewright.monitoring.foreign_members import expel
from cachewright.monitoring.incidents import Incidents
from cachewright.monitoring.replication_findings import find_replication
from cachewright.operations.context import OperationContext
from cachewright.threads import in_background
from cachewright.valkey.client import NODE_GONE, NodeRefused
from cachewright.valkey.single_request import Command, fields, request_once
from cachewright.valkey.slots import SLOTS

log = logging.getLogger(__name__)

_ROUND_SECONDS = 2.0
_SECONDS_A_CHECK = 0.005
"""Rounds of many instances take longer, which limits the checks to a few percent of a core."""

_PAUSE_PER_READING = 9.0
_LONGEST_PAUSE_SECONDS = 10.0
"""The pause after a reading of all records is so many times as long as the reading, which limits it to a tenth of a
core. After a difference, the record of the instance is read again in any case."""

_LIST_EVERY = 5
_SECONDS_A_LIST = 0.02
"""Pause before the nodes of a faulty cluster list their members again: lists grow with the square of the nodes."""

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
_OF_OTHERS: set[FaultKind] = {
    "node_start",
    "broken_node",
    "silent_host",
    "lost_data",
    "write_loss_risk",
    "unequal_nodes",
    "no_proxy",
    "no_failover",
    "no_whitelist",
    "short_write_log",
}
"""Faults that the supervisor and other checks report, not this check."""


class _CheckState(msgspec.Struct):
    """State of one instance between checks.

    :ivar rounds: number of checks.
    :ivar next_lists: earliest time at which all nodes list their members again while the instance has a fault.
    :ivar epoch: the cluster's epoch at the last check without a fault. Changes of roles or slots increment it.
    :ivar first_seen: time at which each fault was seen first.
    :ivar last_seen: time at which each fault was seen last.
    :ivar slow: the nodes were slow to respond.
    """

    rounds: int
    next_lists: float = 0.0
    epoch: int | None = None
    first_seen: dict[FaultKind, float] = {}
    last_seen: dict[FaultKind, float] = {}
    slow: bool = False


class ClusterCheck:
    def __init__(self, context: OperationContext, incidents: Incidents, heartbeats: LoopHeartbeats) -> None:
        """:ivar forgotten: number of foreign members that nodes have forgotten."""
        self._context = context
        self._incidents = incidents
        self._heartbeats = heartbeats
        self._records = Records(context)
        self._subjects: dict[str, Subject] = {}
        self._started: Set[str] = frozenset()
        self._change_counter: object | None = None
        self._reading = asyncio.Lock()
        self._next_reading = float("-inf")
        self._states: dict[str, _CheckState] = {}
        self._checks: dict[str, asyncio.Task[None]] = {}
        self._room = asyncio.Semaphore(_AT_ONCE)
        self._slow_room = asyncio.Semaphore(_SLOW_AT_ONCE)
        self.forgotten = 0

    async def run(self) -> None:
        """Check all instances until cancelled."""
        try:
            while True:
                self._heartbeats.beat("cluster check")
                await self._refresh()
                await self._round([instance_id for instance_id in self._subjects if self._needs_check(instance_id)])
        finally:
            for check in self._checks.values():
                check.cancel()

    def _needs_check(self, instance_id: str) -> bool:
        """Whether there may be something to find. An instance whose owner has stopped all nodes has nothing to ask."""
        is_stopped = self._subjects[instance_id].record.is_stopped
        return not is_stopped or self._incidents.kinds_of(instance_id) - _OF_OTHERS != {"stopped_shards"}

    async def _round(self, instance_ids: Sequence[str]) -> None:
        """Start a check of each instance, spread over the time of a round."""
        seconds = max(_ROUND_SECONDS, len(instance_ids) * _SECONDS_A_CHECK)
        parts = min(len(instance_ids), int(seconds * 10)) or 1
        for part in range(parts):
            for instance_id in instance_ids[part::parts]:
                if instance_id not in self._checks:
                    self._checks[instance_id] = asyncio.create_task(self._check(instance_id))
            await asyncio.sleep(seconds / parts)

    async def _refresh(self) -> None:
        """Read the record if the database has changed, and the last reading is not too recent for its length."""
        begun = time.monotonic()
        if begun < self._next_reading:
            return
        counter = await self._context.database.change_counter()
        if counter is not None and counter == self._change_counter:
            return
        async with self._reading:
            self._started = await self._context.host.with_file(CONFIG)
            self._subjects = await in_background(self._records.read, self._started)
        self._change_counter, now = counter, time.monotonic()
        self._next_reading = now + min(_PAUSE_PER_READING * (now - begun), _LONGEST_PAUSE_SECONDS)
        for instance_id in self._states.keys() - self._subjects.keys():
            del self._states[instance_id]
            for kind in self._incidents.kinds_of(instance_id) - _OF_OTHERS:
                self._incidents.clear(instance_id, kind)

    async def _read_again(self, instance_id: str) -> Subject | None:
        """Read the record of one instance. All others would take seconds where there are thousands."""
        async with self._reading:
            subject = await in_background(self._records.read_one, instance_id, self._started)
            if subject and not subject.record.ids <= self._started:  # a new node, which may have started since
                self._started = await self._context.host.with_file(CONFIG)
                subject = await in_background(self._records.read_one, instance_id, self._started)
            if subject:
                self._subjects[instance_id] = subject
            else:
                self._subjects.pop(instance_id, None)
        return subject

    async def _check(self, instance_id: str) -> None:
        state = self._states.setdefault(instance_id, _CheckState(hash(instance_id) % _LIST_EVERY))
        try:
            async with self._slow_room if state.slow else self._room:
                start = time.monotonic()
                with about(instance_id=instance_id):
                    await self._check_subject(instance_id, state)
                state.slow = time.monotonic() - start > _SLOW_SECONDS
        except DatabaseUnavailable as error:
            log.warning("instance %s was not checked, database unavailable: %s", instance_id, error)
        except Exception:
            log.exception("unexpected error in the check of instance %s", instance_id)
        finally:
            del self._checks[instance_id]

    async def _check_subject(self, instance_id: str, state: _CheckState) -> None:
        subject = self._subjects.get(instance_id)
        if subject is None:
            return
        state.rounds += 1
        suspected = state.first_seen or self._incidents.kinds_of(instance_id) - _OF_OTHERS
        if suspected and time.monotonic() < state.next_lists:
            return
        if not suspected and await _is_healthy(subject, state):
            return
        state.next_lists = time.monotonic() + len(subject.record.nodes) * _SECONDS_A_LIST
        found = await self._find(subject)
        if found is None:
            return
        subject, answers, findings = found
        self._report(subject, answers, findings, state)
        if findings.forgetful or findings.captured:
            await self._expel(subject, findings)
        elif "missing_member" in self._incidents.kinds_of(instance_id):
            await _introduce(subject, findings)

    async def _find(self, subject: Subject) -> tuple[Subject, list[Answer], Findings] | None:
        """Compare the answers of all nodes with the record. After a difference, compare also with a record read after
        the answers, because a task may have added or removed nodes. None if the instance was deleted."""
        answers = await _ask_all(subject)
        findings = _compare(subject, answers)
        if findings.foreign:  # perhaps nodes that a task has added since the record was read, and has removed again
            renewed = await self._read_again(subject.instance_id)
            if renewed is None:
                return None
            subject, answers = renewed, await _ask_all(renewed)
            findings = _compare(subject, answers)
        if not findings.faults and not findings.forgetful:
            return subject, answers, findings
        again = await self._read_again(subject.instance_id)
        return (again, answers, in_both(findings, _compare(again, answers))) if again else None

    def _report(self, subject: Subject, answers: Sequence[Answer], findings: Findings, state: _CheckState) -> None:
        """Report faults that lasted long enough, and clear faults that have ended."""
        now, instance_id = time.monotonic(), subject.instance_id
        for kind, detail in findings.faults.items():
            first = state.first_seen.setdefault(kind, now)
            state.last_seen[kind] = now
            confirm = RULES[kind].confirm_seconds
            if not confirm or (first < now and now - first >= confirm):
                self._incidents.report(instance_id, kind, detail)
        for kind in state.first_seen.keys() - findings.faults.keys():
            del state.first_seen[kind]
        for kind in self._incidents.kinds_of(instance_id) - findings.faults.keys() - _OF_OTHERS:
            ended = now - state.last_seen.setdefault(kind, now) >= RULES[kind].hold_seconds
            if ended and _conclusive(kind, subject, answers):
                self._incidents.clear(instance_id, kind)
        views = [answer.view for answer in answers if answer.view]
        state.epoch = max(view.epoch for view in views) if views and not findings.faults else None

    async def _expel(self, subject: Subject, findings: Findings) -> None:
        """Expel foreign members until no node knows one, for at most five seconds; the next check continues."""
        for member in findings.foreign.values():
            log.error("instance %s: foreign member %s at %s", subject.instance_id, member.id, member.address)
        deadline = time.monotonic() + _EXPEL_SECONDS
        while findings.forgetful or findings.captured:
            self.forgotten += await expel(findings, subject.access)
            if time.monotonic() > deadline:
                return
            await asyncio.sleep(_EXPEL_PAUSE_SECONDS)
            found = await self._find(subject)
            if found is None:
                return
            subject, _, findings = found


async def _is_healthy(subject: Subject, state: _CheckState) -> bool:
    """Whether a short check finds no difference. While a task changes the cluster, the expected numbers are unknown, so
    one node lists its members."""
    record = subject.record
    if subject.topology.has_sentinel:
        return not _compare(subject, await _ask_all(subject)).faults
    node = record.nodes[state.rounds % len(record.nodes)]
    due = state.epoch is None or state.rounds % _LIST_EVERY == 0 or not subject.topology.is_cluster
    nodes = [node]
    if due or not record.idle:
        answer = await _answer(node, subject)
        findings = find(record, [answer])
        if findings.faults or findings.forgetful or answer.view is None:
            return False
        state.epoch = answer.view.epoch
        nodes = [other for other in record.nodes if other is not node] if record.idle else []
    return all(await gather_limited(lambda node: _reports_healthy(node, subject, state.epoch), nodes, _NODES_AT_ONCE))


async def _reports_healthy(node: Node, subject: Subject, epoch: int | None) -> bool:
    try:
        my_id, info = await request_once(node, subject.access, [_MY_ID, _INFO], _ANSWER_SECONDS)
        status = fields(info)
        return (
            my_id == node.id
            and status["cluster_state"] == "ok"
            and int(status["cluster_known_nodes"]) == len(subject.record.nodes)
            and int(status["cluster_slots_assigned"]) == SLOTS
            and int(status["cluster_slots_fail"]) == 0
            and int(status["cluster_current_epoch"]) == epoch
        )
    except (*NODE_GONE, NodeRefused, KeyError, ValueError):
        return False


def _compare(subject: Subject, answers: Sequence[Answer]) -> Findings:
    compare = find_replication if subject.topology.has_sentinel else find
    return compare(subject.record, answers)


async def _ask_all(subject: Subject) -> list[Answer]:
    return await gather_limited(lambda node: _answer(node, subject), subject.record.nodes, _NODES_AT_ONCE)


async def _answer(node: Node, subject: Subject) -> Answer:
    try:
        view = await subject.topology.view(node, subject.record.nodes, subject.access, _ANSWER_SECONDS)
        return Answer(node=node, my_id=view.own_id, view=view)
    except NodeRefused as refusal:
        message = str(refusal)
        return Answer(node=node, refused=message if rejects_credentials(message) else None)
    except NODE_GONE:
        return Answer(node=node)


async def _introduce(subject: Subject, findings: Findings) -> None:
    """Introduce unknown members to nodes, where that cannot change the owner of a slot."""
    for node, other in findings.meetings:
        log.warning("instance %s: introducing node %s to node %s again", subject.instance_id, node.id, other.id)
        try:
            meet: Command = ("CLUSTER", "MEET", other.host, str(other.peer_port), str(other.bus_port))
            await request_once(node, subject.access, [meet], _ANSWER_SECONDS)
        except (*NODE_GONE, NodeRefused) as failure:
            log.warning("node %s did not meet node %s: %s", node.id, other.id, failure)


def _conclusive(kind: FaultKind, subject: Subject, answers: Sequence[Answer]) -> bool:
    """Whether answers without the fault prove that it has ended."""
    views = {answer.node.id for answer in answers if answer.view and answer.is_itself}
    if kind in _OF_ONE_NODE:
        return all(node.id in views for node in subject.record.steady)
    return bool(views)
