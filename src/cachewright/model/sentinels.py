"""Sentinels, which fail over primary/standby instances."""

import msgspec

from cachewright.model.hosts import EMBEDDED

QUORUM = 2
"""Sentinels that must agree that a primary is down; also the majority that a failover needs."""

FLEET = 3
"""Number of sentinels. All instances share them."""


class Sentinel(msgspec.Struct, frozen=True, kw_only=True):
    """One Sentinel process.

    :ivar id: its `sentinel myid`, 40 hex digits; name of its folder.
    :ivar host: IP address that it listens on, of the host `host_name`.
    :ivar secret: password of the control plane, the same on all sentinels.
    """

    id: str
    host: str
    port: int
    secret: str
    created_at: int
    host_name: str = EMBEDDED
