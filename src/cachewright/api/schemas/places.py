"""Shapes of available zones and maintenance windows, which are the same for all projects."""

from collections.abc import Sequence
from typing import Annotated

import msgspec

from cachewright.api.schemas.flavors import ZONE

_HOURS = 4
_DEFAULT_BEGIN = 2


class Zone(msgspec.Struct, frozen=True, kw_only=True):
    """`port` belongs to the cloud's network."""

    code: str
    name: str
    id: str
    port: str | None = None
    resource_availability: str


class ZoneList(msgspec.Struct, frozen=True):
    """Zones are labels of hosts. All are in one region."""

    available_zones: list[Zone]
    region_id: str = ZONE


class ZoneState(msgspec.Struct, frozen=True):
    available: bool


class ComputeZone(msgspec.Struct, frozen=True, rename="camel"):
    """`hosts` are for operators of the cloud."""

    zone_name: str
    zone_state: ZoneState
    hosts: None = None


class ComputeZoneList(msgspec.Struct, frozen=True, rename="camel"):
    """The zones, in the shape of the compute service (Nova)."""

    availability_zone_info: list[ComputeZone]


class MigrateZoneBody(msgspec.Struct, frozen=True):
    """`execute_immediately` has no effect."""

    new_available_zones: Annotated[
        list[Annotated[str, msgspec.Meta(min_length=1, max_length=128)]], msgspec.Meta(min_length=1, max_length=10)
    ]
    execute_immediately: bool = True


class Window(msgspec.Struct, frozen=True):
    """A maintenance window in full hours, UTC."""

    seq: int
    begin: str
    end: str
    default: bool


class WindowList(msgspec.Struct, frozen=True):
    maintain_windows: tuple[Window, ...]


def zone_list(zones: Sequence[str], available: Sequence[str]) -> ZoneList:
    """Return the zones. Those that are not `available` take no new nodes."""
    states = {zone: str(zone in available).lower() for zone in zones}
    return ZoneList([Zone(code=zone, name=zone, id=zone, resource_availability=states[zone]) for zone in zones])


def compute_zone_list(zones: Sequence[str], available: Sequence[str]) -> ComputeZoneList:
    return ComputeZoneList([ComputeZone(zone_name=zone, zone_state=ZoneState(zone in available)) for zone in zones])


def windows() -> WindowList:
    """Return the windows of four hours of a day. The default one applies to instances that were created without one."""
    begins = range(_DEFAULT_BEGIN, _DEFAULT_BEGIN + 24, _HOURS)
    return WindowList(
        tuple(
            Window(number, f"{begin % 24:02}", f"{(begin + _HOURS) % 24:02}", begin == _DEFAULT_BEGIN)
            for number, begin in enumerate(begins, start=1)
        )
    )
