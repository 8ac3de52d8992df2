"""The maintenance window of an instance, in full hours of UTC. Pure; times are epoch milliseconds."""

import msgspec

from cachewright.model.instances import Instance

DEFAULT = ("02:00:00", "06:00:00")

_HOUR_MS = 3600 * 1000
_DAY_MS = 24 * _HOUR_MS


class MaintenanceWindow(msgspec.Struct, frozen=True):
    """A part of each day, from `begin` to `end` (hours). It may last over midnight."""

    begin: int
    end: int

    def contains(self, now: int) -> bool:
        since_begin = (now - self.begin * _HOUR_MS) % _DAY_MS
        return since_begin < (self.end - self.begin) * _HOUR_MS % _DAY_MS

    def next_begin(self, now: int) -> int:
        """Return when the window begins next, at `now` at the earliest."""
        return now + (self.begin * _HOUR_MS - now) % _DAY_MS


def times_of(instance: Instance) -> tuple[str, str]:
    """Return the window as `HH:00:00`, or `HH:00` as some callers write it."""
    begin, end = (instance.attributes.get(name) for name in ("maintain_begin", "maintain_end"))
    return begin or DEFAULT[0], end or DEFAULT[1]


def window_of(instance: Instance) -> MaintenanceWindow:
    begin, end = times_of(instance)
    return MaintenanceWindow(int(begin[:2]), int(end[:2]))
