"""Shapes of ListAvailableZones and ListMaintenanceWindows, which are the same for all projects."""

import msgspec

from cachewright.api.schemas.flavors import ZONE

_HOURS = 4
_DEFAULT_BEGIN = 2


class Zone(msgspec.Struct, frozen=True, kw_only=True):
    """`port` belongs to the cloud's network."""

    code: str = ZONE
    name: str = ZONE
    id: str = ZONE
    port: str | None = None
    resource_availability: str = "true"


class ZoneList(msgspec.Struct, frozen=True):
    """The only zone: the server's machine is one zone of one region."""

    region_id: str = ZONE
    available_zones: tuple[Zone, ...] = (Zone(),)


class Window(msgspec.Struct, frozen=True):
    """A maintenance window in full hours, UTC."""

    seq: int
    begin: str
    end: str
    default: bool


class WindowList(msgspec.Struct, frozen=True):
    maintain_windows: tuple[Window, ...]


def windows() -> WindowList:
    """Return the windows of four hours of a day. The default one applies to instances that were created without one."""
    begins = range(_DEFAULT_BEGIN, _DEFAULT_BEGIN + 24, _HOURS)
    return WindowList(
        tuple(
            Window(number, f"{begin % 24:02}", f"{(begin + _HOURS) % 24:02}", begin == _DEFAULT_BEGIN)
            for number, begin in enumerate(begins, start=1)
        )
    )
