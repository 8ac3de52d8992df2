"""Faults that become incidents when they last."""

import time
from collections.abc import Collection

from cachewright.model.incidents import FaultKind
from cachewright.monitoring.incidents import Incidents

_SECONDS = 10.0


class LastingFaults:
    """Faults of one kind, of any instances."""

    def __init__(self, incidents: Incidents, kind: FaultKind) -> None:
        self._incidents = incidents
        self._kind = kind
        self._since: dict[str, float] = {}

    def report(self, instance_id: str, failure: str | None) -> None:
        """Report the fault of an instance, or that it has none. The incident begins after ten seconds."""
        now = time.monotonic()
        if failure is None:
            self._since.pop(instance_id, None)
            self._incidents.clear(instance_id, self._kind)
        elif now - self._since.setdefault(instance_id, now) >= _SECONDS:
            self._incidents.report(instance_id, self._kind, failure)

    def keep(self, instance_ids: Collection[str]) -> None:
        """Clear the faults of instances that are not among these."""
        for instance_id in self._since.keys() - set(instance_ids):
            self.report(instance_id, None)
