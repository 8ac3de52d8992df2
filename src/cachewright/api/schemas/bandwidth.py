"""Shapes of the policy by which an instance gets more bandwidth. Types follow the SDK's models."""

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, UnsetType

from cachewright.model.instances import Instance

ATTRIBUTE = "bandwidth_policy"
"""Name of the attribute of an instance that stores its policy."""

_Cooldown = Annotated[int, msgspec.Meta(ge=0, le=86400)]


class BandwidthPolicyBody(msgspec.Struct, frozen=True, kw_only=True):
    """`window_size` is in minutes, thresholds are in percent, cooldowns in seconds."""

    window_size: Literal[1, 5, 10, 15, 30]
    bandwidth_usage_upper_threshold: Literal[50, 60, 70, 80, 90, 95]
    scale_out_cooldown: _Cooldown = 0
    scale_in_enabled: bool = False
    bandwidth_usage_lower_threshold: Literal[10, 20, 30] | None = None
    scale_in_cooldown: _Cooldown | None = None


class BandwidthPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """The stored policy; without members if there is none. The bandwidth of an instance has no limit, so the policy has
    no effect."""

    window_size: int | UnsetType = UNSET
    bandwidth_usage_upper_threshold: int | UnsetType = UNSET
    scale_out_cooldown: int | UnsetType = UNSET
    scale_in_enabled: bool | UnsetType = UNSET
    bandwidth_usage_lower_threshold: int | UnsetType = UNSET
    scale_in_cooldown: int | UnsetType = UNSET


def stored(body: BandwidthPolicyBody) -> dict[str, int | bool]:
    """Return the policy as an attribute of an instance."""
    given: dict[str, int | bool | None] = msgspec.structs.asdict(body)
    return {name: value for name, value in given.items() if value is not None}


def policy(instance: Instance) -> BandwidthPolicy:
    return msgspec.convert(instance.attributes.get(ATTRIBUTE, {}), BandwidthPolicy)
