"""Nodes that run on other hosts, as their agents report, and do not answer this server: the network between them is
broken, or a process is frozen."""

from collections.abc import Collection, Iterable

from cachewright.hosts.host import Host
from cachewright.model.hosts import EMBEDDED, HostRecord
from cachewright.model.instances import Node
from cachewright.monitoring.node_stats import NodeStats, StatsCollector
from cachewright.store import hosts
from cachewright.store.database import Database


class Reach:
    def __init__(self, database: Database, host: Host, statistics: StatsCollector) -> None:
        self._database = database
        self._host = host
        self._statistics = statistics

    def unreached(self) -> dict[str, int]:
        """Return the number of these nodes by the name of each host that reports. Blocks."""
        reporting = self._host.measured().keys()
        with self._database.read() as connection:
            records = hosts.every(connection)
        return unreached(records, reporting, self._statistics.nodes())


def unreached(
    records: Iterable[HostRecord], reporting: Collection[str], measured: Iterable[tuple[Node, NodeStats | None]]
) -> dict[str, int]:
    """Return the number of nodes, by host, that run there and do not answer; 0 for the server's own machine, which has
    no agent. Pure.

    :param reporting: names of hosts that report.
    :param measured: nodes that should run, with None for one that does not answer.
    """
    running = {
        record.name: record.report.processes if record.report and record.name != EMBEDDED else {}
        for record in records
        if record.name in reporting
    }
    found = dict.fromkeys(running, 0)
    for node, stats in measured:
        if stats is None and node.id in running.get(node.host_name, {}):
            found[node.host_name] += 1
    return found
