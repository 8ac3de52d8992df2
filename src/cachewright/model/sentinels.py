"""Sentinels, which fail over primary/standby instances."""

import msgspec

from cachewright.model.hosts import EMBEDDED

QUORUM = 2
"""Sentinels that must agree that a primary is down; also the majority that a failover needs."""

FLEET = 3
"""Number of sentinels. All instances with TLS between their nodes share them, and all others have as many."""


class Sentinel(msgspec.Struct, frozen=True, kw_only=True):
    """One Sentinel process.

    :ivar id: its `sentinel myid`, 40 hex digits; name of its folder.
    :ivar host: IP address that it listens on, of the host `host_name`.
    :ivar secret: password of the control plane, the same on all sentinels.
    :ivar authority: private key and certificate of the authority by which nodes know sentinels with TLS, and the
        certificate of the authority of the installation, which has issued those of the ports of sentinels, PEM; None
        for a sentinel without TLS. Those with TLS watch the instances with TLS between their nodes, the others all
        others.
    """

    id: str
    host: str
    port: int
    secret: str
    created_at: int
    host_name: str = EMBEDDED
    authority: str | None = None

    @property
    def has_tls(self) -> bool:
        return self.authority is not None
