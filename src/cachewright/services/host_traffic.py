"""Whether traffic between hosts is encrypted."""

from collections.abc import Mapping, Sequence

import msgspec
import sqlalchemy as sa

from cachewright.model.hosts import HostRecord
from cachewright.store import hosts


class HostTraffic(msgspec.Struct, frozen=True, kw_only=True):
    """Traffic of a host with the server and with other hosts.

    :ivar has_tls: whether its valkey-server has TLS.
    :ivar nodes: number of its nodes, of all projects, whose instances are not on the machine of the server alone.
    :ivar plain: number of those without TLS.
    """

    has_tls: bool
    nodes: int
    plain: int

    @property
    def stranded(self) -> int:
        """The number of nodes that cannot start again: they have TLS, and the valkey-server has it no longer."""
        return 0 if self.has_tls else self.nodes - self.plain

    @property
    def shown(self) -> str:
        if self.stranded:
            return f"{self.stranded} nodes have TLS, which valkey-server no longer has: they cannot start again"
        if not self.has_tls:
            return "plain: valkey-server has no TLS"
        return f"plain for {self.plain} of {self.nodes} nodes" if self.plain else "encrypted"


def traffic(connection: sa.Connection, every: Sequence[HostRecord]) -> Mapping[str, HostTraffic]:
    """Return the traffic of each host that has reported, by name; nothing while the server has one machine.

    :param every: all hosts.
    """
    if len(every) <= 1:
        return {}
    counts = hosts.crossing_nodes(connection)
    found = {}
    for host in every:
        if host.report is not None:
            nodes, plain = counts.get(host.name, (0, 0))
            found[host.name] = HostTraffic(has_tls=host.report.tls, nodes=nodes, plain=plain)
    return found
