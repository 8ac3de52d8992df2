"""Shapes of the IP whitelist. Types follow the SDK's models.

Connections are not filtered by address, so a whitelist cannot be enabled. Its groups are stored and returned
nevertheless: clients such as terraform send the groups of a whitelist that is off, and compare them with the response.
"""

from typing import Annotated

import msgspec

from cachewright.model.instances import Instance

ATTRIBUTE = "whitelist"

MOST_ADDRESSES = 20
"""Of all groups of an instance."""


class WhitelistGroup(msgspec.Struct, frozen=True):
    group_name: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    ip_list: Annotated[list[Annotated[str, msgspec.Meta(max_length=64)]], msgspec.Meta(max_length=MOST_ADDRESSES)]


class WhitelistBody(msgspec.Struct, frozen=True):
    """`enable_whitelist` must be false. The groups replace the present ones."""

    enable_whitelist: bool
    whitelist: Annotated[list[WhitelistGroup], msgspec.Meta(max_length=4)] = []


class Whitelist(msgspec.Struct, frozen=True):
    """Always off, because connections are not filtered by address."""

    instance_id: str
    enable_whitelist: bool = False
    whitelist: list[WhitelistGroup] = []


def whitelist(instance: Instance) -> Whitelist:
    groups = msgspec.convert(instance.attributes.get(ATTRIBUTE, []), list[WhitelistGroup])
    return Whitelist(instance.id, whitelist=groups)
