"""What callers request, after the contract's shapes have been read and before anything has been decided."""

from collections.abc import Mapping
from typing import Any

import msgspec

from cachewright.flavors import Flavor


class CreateRequest(msgspec.Struct, frozen=True, kw_only=True):
    """New instances, all alike. `attributes` are read back to the caller unchanged.

    :ivar port: the port that clients find the first node at; None leaves the choice to the server.
    :ivar password: None for an instance that accepts clients without one.
    """

    names: tuple[str, ...]
    flavor: Flavor
    engine_version: str
    port: int | None
    password: str | None
    attributes: dict[str, Any]


class ResizeRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Another size. `capacity_mb` is None where the caller left it to the spec code."""

    spec_code: str
    capacity_mb: int | None = None


class ConfigureRequest(msgspec.Struct, frozen=True):
    """New values of parameters, by name."""

    values: Mapping[str, str]
