"""The latest reports of agents, as the database has them."""

import threading
import time

import msgspec

from cachewright.hosts.calls import HostSilent
from cachewright.model.hosts import EMBEDDED, HostRecord, HostReport
from cachewright.store import hosts
from cachewright.store.database import Database

SILENT_SECONDS = 10.0
"""Time without a report after which a host counts as silent."""

_READ_SECONDS = 0.25
_CLOCK_SECONDS = 10.0


class _Seen(msgspec.Struct, frozen=True):
    """:ivar changed_at: time at which its last report was read, in seconds of the monotonic clock."""

    record: HostRecord
    changed_at: float


class AgentReports:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._read_at = float("-inf")
        self._seen: dict[str, _Seen] = {}
        self._clock_offset = 0.0
        self._offset_at = float("-inf")

    def all(self, *, alive: bool = False) -> dict[str, tuple[str, HostReport]]:
        """Return address and latest report of each other host; with `alive`, of those that are not silent. Blocks."""
        self.refresh()
        now = time.monotonic()
        return {
            name: (seen.record.address, seen.record.report)
            for name, seen in self._seen.items()
            if seen.record.report is not None and (not alive or _is_alive(seen, now))
        }

    def latest(self, name: str) -> HostReport:
        """Return the latest report of an agent. Raises HostSilent while it does not report. Blocks."""
        _, report = self.all(alive=True).get(name, ("", None))
        if report is None:
            raise HostSilent(f"host {name} does not report")
        return report

    def clock_ahead(self, name: str) -> float:
        """Return by how many seconds the clock of a host is ahead of this machine's, as last measured."""
        seen = self._seen.get(name)
        report = seen.record.report if seen else None
        return self._clock_offset - report.clock_offset if report else 0.0

    def host_at(self, address: str) -> str | None:
        """Return the name of the host that had this address when the reports were read last. Does not block."""
        return next((name for name, seen in self._seen.items() if seen.record.address == address), None)

    def refresh(self) -> None:
        """Read the reports, if they were not read just now. Blocks."""
        with self._lock:
            now = time.monotonic()
            if now - self._read_at < _READ_SECONDS:
                return
            with self._database.read() as connection:
                if now - self._offset_at >= _CLOCK_SECONDS:
                    self._clock_offset, self._offset_at = hosts.clock_offset(connection), now
                known = {name: before.record for name, before in self._seen.items()}
                records = [record for record in hosts.after(connection, known) if record.name != EMBEDDED]
            seen = {}
            for record in records:
                before = self._seen.get(record.name)
                is_new = before is None or before.record.seen_at != record.seen_at
                seen[record.name] = _Seen(record, now if before is None or is_new else before.changed_at)
            self._seen, self._read_at = seen, now  # replaced, because other threads read it meanwhile


def _is_alive(seen: _Seen, now: float) -> bool:
    """Whether a host reports. What a lost one says has no effect: its nodes may run elsewhere now."""
    return seen.record.state != "lost" and now - seen.changed_at < SILENT_SECONDS
