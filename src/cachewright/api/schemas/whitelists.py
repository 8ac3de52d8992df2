"""Shapes of the IP whitelist. Types follow the SDK's models."""

from typing import Annotated

import msgspec

from cachewright.model.instances import WHITELIST, WHITELIST_ENABLED, Instance

MOST_ADDRESSES = 20
"""Of all groups of an instance."""


class WhitelistGroup(msgspec.Struct, frozen=True):
    group_name: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    ip_list: Annotated[list[Annotated[str, msgspec.Meta(max_length=64)]], msgspec.Meta(max_length=MOST_ADDRESSES)]


class WhitelistBody(msgspec.Struct, frozen=True):
    """The groups replace the present ones. They are stored also while the whitelist is off."""

    enable_whitelist: bool
    whitelist: Annotated[list[WhitelistGroup], msgspec.Meta(max_length=4)] = []


class Whitelist(msgspec.Struct, frozen=True):
    instance_id: str
    enable_whitelist: bool
    whitelist: list[WhitelistGroup]


def whitelist(instance: Instance) -> Whitelist:
    groups = msgspec.convert(instance.attributes.get(WHITELIST, []), list[WhitelistGroup])
    return Whitelist(instance.id, bool(instance.attributes.get(WHITELIST_ENABLED)), groups)
