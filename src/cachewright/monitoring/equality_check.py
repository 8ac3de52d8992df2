"""Compare the nodes of each instance: function libraries should be the same on all of them.

Each instance is compared about once a minute, and only while no task changes it. A difference is reported only if it
lasts, because clients load a library on one primary after another. `parameter_enforcement` compares and corrects
parameters and users.
"""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence

import msgspec

from cachewright.concurrency import gather_limited
from cachewright.errors import DatabaseUnavailable
from cachewright.heartbeats import LoopHeartbeats
from cachewright.hosts.host import CONFIG
from cachewright.logs import about
from cachewright.model.incidents import FaultKind
from cachewright.model.instances import Node
from cachewright.monitoring.cluster_records import Records, Subject
from cachewright.monitoring.faults import RULES
from cachewright.monitoring.incidents import Incidents
from cachewright.operations.context import OperationContext
from cachewright.threads import in_background
from cachewright.valkey.access import Access
from cachewright.valkey.client import NODE_GONE, NodeRefused, Valkey, connect
from cachewright.valkey.equality import Definitions, compare, hashed, merged
from cachewright.valkey.functions import (
    MOST_BYTES,
    LibrariesTooLarge,
    LibrariesVersion,
    function_libraries,
    libraries_version,
)

log = logging.getLogger(__name__)

_ROUND_SECONDS = 5.0
_CHECK_SECONDS = 60.0
_AGAIN_SECONDS = 5.0
"""Time between two comparisons of an instance whose nodes differ."""

_SECONDS_APART = 0.2
"""Time between the first comparisons of two instances after the start of the server, to spread the load."""

_READ_AGAIN_SECONDS = 900.0
"""Time after which unchanged function libraries are read again."""

_ANSWER_SECONDS = 2.0
_INSTANCES_AT_ONCE = 4
_NODES_AT_ONCE = 8
_LISTED = 3
"""Maximum number of differences that a detail names. It has only the number of the others."""

_KIND: FaultKind = "unequal_nodes"


class Compared(msgspec.Struct, frozen=True):
    """Hashes of the function libraries of one node; None if they are too large to be compared."""

    libraries: Definitions | None


class _Read(msgspec.Struct, frozen=True):
    """Hashes of function libraries that were read, their version, and the time in seconds of the monotonic clock."""

    version: LibrariesVersion
    hashes: Definitions | None
    at: float


class _State(msgspec.Struct):
    """State of one instance between comparisons. Times are in seconds of the monotonic clock.

    :ivar next_check: earliest time of the next comparison.
    :ivar differs_since: None if its nodes were equal at the last comparison.
    """

    next_check: float
    differs_since: float | None = None


class EqualityCheck:
    def __init__(self, context: OperationContext, incidents: Incidents, heartbeats: LoopHeartbeats) -> None:
        self._context = context
        self._incidents = incidents
        self._heartbeats = heartbeats
        self._records = Records(context)
        self._states: dict[str, _State] = {}
        self._libraries: dict[str, _Read] = {}

    async def run(self) -> None:
        """Compare until cancelled."""
        while True:
            self._heartbeats.beat("equality check")
            await self._compare_due()
            await asyncio.sleep(_ROUND_SECONDS)

    async def _compare_due(self) -> None:
        started = await self._context.host.with_file(CONFIG)
        subjects = await in_background(self._records.read, started)
        for removed in self._states.keys() - subjects.keys():
            del self._states[removed]
        present = {node.id for subject in subjects.values() for node in subject.record.nodes}
        self._libraries = {node_id: found for node_id, found in self._libraries.items() if node_id in present}
        for instance_id in self._incidents.of_kind(_KIND) - subjects.keys():
            self._incidents.clear(instance_id, _KIND)
        now = time.monotonic()
        due = []
        for place, (instance_id, subject) in enumerate(subjects.items()):
            first = now + min(place * _SECONDS_APART, _CHECK_SECONDS)
            state = self._states.setdefault(instance_id, _State(first))
            if not subject.record.idle:  # compared when its task has ended
                state.next_check, state.differs_since = now, None
            elif len(subject.record.nodes) > 1 and now >= state.next_check:
                due.append(subject)
        await gather_limited(self._compare, due, _INSTANCES_AT_ONCE)

    async def _compare(self, subject: Subject) -> None:
        instance_id, state = subject.instance_id, self._states[subject.instance_id]
        nodes = subject.record.steady
        try:
            with about(instance_id=instance_id):
                found = await gather_limited(lambda node: self._read(node, subject.access), nodes, _NODES_AT_ONCE)
        except DatabaseUnavailable as error:
            log.warning("instance %s was not compared, database unavailable: %s", instance_id, error)
            return
        answers = {node.id: compared for node, compared in zip(nodes, found, strict=True) if compared}
        now = time.monotonic()
        if detail := differences(answers):
            state.differs_since = state.differs_since or now
            if now - state.differs_since >= RULES[_KIND].confirm_seconds:
                self._incidents.report(instance_id, _KIND, detail)
        elif len(answers) == len(nodes):  # a node that does not answer may be the one that differs
            state.differs_since = None
            self._incidents.clear(instance_id, _KIND)
        state.next_check = now + (_AGAIN_SECONDS if detail else _CHECK_SECONDS)

    async def _read(self, node: Node, access: Access) -> Compared | None:
        try:
            async with connect(node, access, _ANSWER_SECONDS) as client:
                return Compared(await self._hashes(node, client))
        except (*NODE_GONE, NodeRefused):
            return None

    async def _hashes(self, node: Node, client: Valkey) -> Definitions | None:
        """Return hashes of the node's function libraries, None if they are too large. The code is read only if they may
        have changed, and sometimes in any case, because a replica can get them without a command."""
        version, now = await libraries_version(client), time.monotonic()
        read = self._libraries.get(node.id)
        if read is None or read.version != version or now - read.at > _READ_AGAIN_SECONDS:
            try:
                hashes = hashed(await function_libraries(client))
            except LibrariesTooLarge:
                hashes = None
            read = self._libraries[node.id] = _Read(version, hashes, now)
        return read.hashes


def differences(of_nodes: Mapping[str, Compared]) -> str:
    """Describe how nodes differ from what most of them have, by node id; empty if they are equal. Pure."""
    libraries = {node_id: found.libraries for node_id, found in of_nodes.items() if found.libraries is not None}
    limit = f"{MOST_BYTES} bytes, and are not compared"
    too_large = [
        f"the function libraries of node {node_id} take more than {limit}"
        for node_id in sorted(of_nodes.keys() - libraries.keys())
    ]
    sentences = [*_sentences(libraries), *too_large]
    more = f"; and {len(sentences) - _LISTED} more" if len(sentences) > _LISTED else ""
    return "; ".join(sentences[:_LISTED]) + more


def _sentences(of_nodes: Mapping[str, Definitions]) -> Sequence[str]:
    wanted = merged(list(of_nodes.values()))
    found = []
    for node_id, definitions in sorted(of_nodes.items()):
        difference = compare(wanted, definitions)
        found += [f"node {node_id} does not have function library {name}" for name in sorted(difference.missing)]
        found += [
            f"node {node_id} has another version of function library {name}" for name in sorted(difference.different)
        ]
    return found
