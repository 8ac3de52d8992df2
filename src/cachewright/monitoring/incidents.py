"""Records incidents of instances that the supervisor and the cluster check report.

Reports are kept in memory and never wait for the database. A loop logs, audits and stores the begin and end of each
incident, sends them to webhooks, and changes the status of instances.
"""

import asyncio
import logging
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

import msgspec
import sqlalchemy as sa

from cachewright.clock import now_ms
from cachewright.heartbeats import LoopHeartbeats
from cachewright.logs import about
from cachewright.model.incidents import FaultKind, Incident
from cachewright.monitoring.faults import RULES, status_with
from cachewright.store import incidents, instances
from cachewright.store.database import Database
from cachewright.threads import in_background

log = logging.getLogger(__name__)

_SETTLE_SECONDS = 0.5
_DETAIL_LIMIT = 1000
_STORED_AT_ONCE = 200
"""Incidents that begin or end in one transaction. A host that falls silent may have thousands of instances, and other
writers must not wait for all of them."""

Fault = tuple[str, FaultKind]
"""Id of an instance, and the kind of its fault."""

_Statuses = Mapping[str, tuple[str, str, str | None]]


class Incidents:
    """Incidents of all instances. Not thread-safe."""

    def __init__(self, database: Database, heartbeats: LoopHeartbeats) -> None:
        """:ivar begun: number of incidents of each kind that have begun since the server started."""
        self._database = database
        self._heartbeats = heartbeats
        self._reported: dict[Fault, str] = {}
        self._open: dict[Fault, Incident] = {}
        self._brief: set[Fault] = set()
        self.begun: Counter[FaultKind] = Counter()

    def load(self) -> None:
        """Load open incidents of an earlier run; they stay open until they are cleared."""
        with self._database.read() as connection:
            found = incidents.unended(connection)
        self._open = {(incident.instance_id, incident.kind): incident for incident in found}
        self._reported = {fault: incident.detail for fault, incident in self._open.items()}

    def report(self, instance_id: str, kind: FaultKind, detail: str) -> None:
        """Report a fault of an instance. Repeated reports belong to one incident until it is cleared."""
        self._brief.discard((instance_id, kind))
        self._reported.setdefault((instance_id, kind), detail[:_DETAIL_LIMIT])

    def clear(self, instance_id: str, kind: FaultKind) -> None:
        """Report that an instance does not have this fault, which ends its incident. A fault that is not stored yet is
        stored first, so that a brief one leaves an incident too."""
        fault = instance_id, kind
        if fault in self._reported and fault not in self._open:
            self._brief.add(fault)
        else:
            self._reported.pop(fault, None)

    def kinds_of(self, instance_id: str) -> set[FaultKind]:
        """Kinds of faults that are reported for the instance."""
        return {kind for kind in RULES if (instance_id, kind) in self._reported}

    def of_kind(self, kind: FaultKind) -> set[str]:
        """Ids of instances for which this kind of fault is reported."""
        return {instance_id for instance_id, reported_kind in self._reported if reported_kind == kind}

    def open_by_kind(self) -> Counter[FaultKind]:
        """Number of open incidents of each kind."""
        return Counter(kind for _, kind in self._open)

    async def run(self) -> None:
        """Store reports until cancelled."""
        settled = None
        while True:
            self._heartbeats.beat("incidents")
            reported, counter = dict(self._reported), await self._database.change_counter()
            if counter is not None and (reported, counter) == settled:
                await asyncio.sleep(_SETTLE_SECONDS)
                continue
            begun, ended, later = await in_background(self._settle, reported)
            settled = reported, counter
            for incident in begun:
                self._open[incident.instance_id, incident.kind] = incident
                self.begun[incident.kind] += 1
                with about(instance_id=incident.instance_id):
                    log.error("incident of instance %s: %s: %s", incident.instance_id, incident.kind, incident.detail)
            for fault in self._brief & reported.keys() - later:
                self._brief.remove(fault)
                self._reported.pop(fault, None)
            for incident in ended:
                del self._open[incident.instance_id, incident.kind]
                with about(instance_id=incident.instance_id):
                    log.info("incident of instance %s has ended: %s", incident.instance_id, incident.kind)
            await asyncio.sleep(_SETTLE_SECONDS)

    def _settle(self, reported: Mapping[Fault, str]) -> tuple[list[Incident], list[Incident], set[Fault]]:
        """Write reports to the database, if they differ from it. Return the incidents that began and ended, and the
        faults of those that begin in the next round."""
        with self._database.read() as connection:
            statuses = instances.statuses(connection)
        if not self._differs(reported, statuses):
            return [], [], set()
        with self._database.write() as connection:
            statuses = instances.statuses(connection)
            faults = {fault: detail for fault, detail in reported.items() if fault[0] in statuses}
            new = [fault for fault in faults if fault not in self._open]
            over = [fault for fault in self._open if fault not in faults][:_STORED_AT_ONCE]
            begun = [_new_incident(fault, statuses[fault[0]][0], faults[fault]) for fault in new[:_STORED_AT_ONCE]]
            now = now_ms()
            ended = [
                msgspec.structs.replace(self._open[fault], ended_at=max(now, self._open[fault].began_at))
                for fault in over
            ]
            for incident in begun:
                incidents.begin(connection, incident)
            for incident in ended:
                incidents.end(connection, incident)
            _change_statuses(connection, {*self._open, *new[:_STORED_AT_ONCE]}.difference(over), statuses)
        return begun, ended, set(new[_STORED_AT_ONCE:])

    def _differs(self, reported: Mapping[Fault, str], statuses: _Statuses) -> bool:
        faults = {fault for fault in reported if fault[0] in statuses}
        return faults != self._open.keys() or bool(_changes(faults, statuses))


def _new_incident(fault: Fault, project_id: str, detail: str) -> Incident:
    instance_id, kind = fault
    return Incident(
        id=uuid.uuid4().hex,
        instance_id=instance_id,
        project_id=project_id,
        kind=kind,
        error_code=RULES[kind].code,
        detail=detail,
        began_at=now_ms(),
    )


def _change_statuses(connection: sa.Connection, faults: Iterable[Fault], statuses: _Statuses) -> None:
    for instance_id, status, code in _changes(faults, statuses):
        instances.change(connection, instance_id, status=status, error_code=code, updated_at=now_ms())


def _changes(faults: Iterable[Fault], statuses: _Statuses) -> list[tuple[str, str, str | None]]:
    """Instances whose status or error code must change, with the new values."""
    kinds: dict[str, set[FaultKind]] = defaultdict(set)
    for instance_id, kind in faults:
        kinds[instance_id].add(kind)
    changes = []
    for instance_id, (_, status, code) in statuses.items():
        expected = status_with(status, code, kinds.get(instance_id, ()))
        if expected != (status, code):
            changes.append((instance_id, *expected))
    return changes
