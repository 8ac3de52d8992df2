"""Shapes of the sentinels of an instance."""

from collections.abc import Sequence

import msgspec

from cachewright.model.sentinels import Sentinel


class SentinelAddress(msgspec.Struct, frozen=True):
    ip: str
    port: int


class Sentinels(msgspec.Struct, frozen=True, kw_only=True):
    """How clients that know Sentinel find the primary of an instance.

    :ivar name: name of the primary in commands to sentinels.
    :ivar username: user on the sentinels. Its password is that of the instance's clients.
    """

    name: str
    username: str
    sentinels: list[SentinelAddress]


def sentinels(instance_id: str, fleet: Sequence[Sentinel]) -> Sentinels:
    addresses = [SentinelAddress(sentinel.host, sentinel.port) for sentinel in fleet]
    return Sentinels(name=instance_id, username=instance_id, sentinels=addresses)
