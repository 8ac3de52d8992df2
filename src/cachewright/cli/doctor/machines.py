"""Checks of the servers and hosts on the database, and of the way to the nodes of other hosts."""

import socket
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import sqlalchemy as sa

import cachewright
from cachewright.cli.doctor.finding import Finding
from cachewright.cli.doctor.records import read
from cachewright.config import Settings
from cachewright.model.hosts import EMBEDDED, HostRecord
from cachewright.model.instances import Node
from cachewright.services import servers
from cachewright.services.host_traffic import HostTraffic, traffic
from cachewright.services.hosts import silent_seconds
from cachewright.store import hosts, instances, server_records

_CONNECT_SECONDS = 2.0
_AT_ONCE = 32


def check_servers(settings: Settings) -> Iterator[Finding]:
    """Check that a server performs tasks, and that none has ended without being stopped. Without a readable database
    there is no finding; `check_database` reports that."""
    found = read(settings, servers.overview)
    if found is None:
        return
    for details in found.servers:
        record = details.record
        if details.is_silent:
            message = (
                f"the server on {record.machine} (pid {record.pid}) has not reported for {details.seen_seconds:.0f} s"
            )
            yield Finding(
                "servers", "warn", message, "Start it again, or wait a day until it is removed from the list."
            )
        elif record.release != cachewright.__version__:
            message = f"the server on {record.machine} is {record.release}, this release is {cachewright.__version__}"
            yield Finding("servers", "warn", message, "Upgrade them one after another (docs/servers.md).")
    reporting = [details for details in found.servers if not details.is_silent]
    performing = [details.record.machine for details in reporting if details.performs_tasks]
    if performing:
        standing_by = len(reporting) - len(performing)
        yield Finding(
            "servers", "ok", f"tasks are performed on {performing[0]}, {standing_by} servers are ready to take over"
        )
    elif reporting:
        message = f"none of {len(reporting)} servers performs tasks"
        yield Finding(
            "servers", "warn", message, "Read their logs. Likely causes are nodes without an agent, or the database."
        )


def check_hosts(settings: Settings) -> Iterator[Finding]:
    """Check that hosts report, that one takes new nodes, and that traffic between them is encrypted. Without a readable
    database there is no finding."""

    def query(connection: sa.Connection) -> tuple[list[HostRecord], int, Mapping[str, HostTraffic]]:
        every = hosts.every(connection)
        return every, server_records.now(connection), traffic(connection, every)

    if (records := read(settings, query)) is None:
        return
    found, now, between = records
    active = [host.name for host in found if host.state == "active"]
    for host in found:
        if host.state == "lost":
            message = f"host {host.name} was given up as lost and has nodes that have not been replaced yet"
            yield Finding("hosts", "warn", message, "Look at the incidents of their instances.")
        elif host.name != EMBEDDED and (seconds := silent_seconds(host, now)) is not None:
            message = f"host {host.name} has never reported"
            if host.seen_at is not None:
                message = f"host {host.name} has not reported for {seconds:.0f} s"
            yield Finding("hosts", "warn", message, f"Start its agent: cachewright agent --host {host.name} ...")
    message = ", ".join(f"{host.name} ({host.state}, zone {host.zone})" for host in found)
    if active:
        yield Finding("hosts", "ok", message)
    else:
        yield Finding("hosts", "warn", f"{message}: no host accepts new nodes", "cachewright hosts uncordon NAME")
    yield from _traffic(between)


def _traffic(between: Mapping[str, HostTraffic]) -> Iterator[Finding]:
    for name, of_host in between.items():
        if of_host.stranded:
            yield Finding("traffic", "fail", f"host {name}: {of_host.shown}", "Use a valkey-server with TLS there.")
        elif not of_host.has_tls:
            remedy = "Use a private network, or a valkey-server with TLS on that host (Debian: valkey-tools 9.1)."
            yield Finding("traffic", "warn", f"host {name}: {of_host.shown}", remedy)
        elif of_host.plain:
            remedy = "Migrate the data of instances without TLS into new ones, whose hosts all have it."
            yield Finding("traffic", "warn", f"host {name}: {of_host.shown}", remedy)
    if between and all(of_host.has_tls and not of_host.plain for of_host in between.values()):
        yield Finding("traffic", "ok", "encrypted between all hosts")


def check_reach(settings: Settings) -> Iterator[Finding]:
    """Check that this machine reaches the nodes that run on other hosts. Without any there is no finding."""
    by_host: dict[str, list[Node]] = defaultdict(list)
    for node in read(settings, _running_elsewhere) or ():
        by_host[node.host_name].append(node)
    for name, there in sorted(by_host.items()):
        refusals = _refusals(there)
        if not refusals:
            yield Finding("reach", "ok", f"the {len(there)} nodes that run on host {name} accept connections")
            continue
        reason, count = Counter(refusals).most_common(1)[0]
        message = (
            f"{len(refusals)} of the {len(there)} nodes that run on host {name} ({there[0].host}) accept no connection "
            f"from this machine; {count}: {reason}"
        )
        remedy = "Open the ports of caches and of the cluster bus on that host for this machine (docs/network.md)."
        yield Finding("reach", "warn", message, remedy)


def _running_elsewhere(connection: sa.Connection) -> list[Node]:
    """Return the nodes that run on other hosts, as their agents report."""
    now = server_records.now(connection)
    reporting = [host for host in hosts.every(connection) if silent_seconds(host, now) is None]
    names = {host.name for host in reporting if host.name != EMBEDDED}
    running = {node_id for host in reporting if host.report for node_id in host.report.processes}
    nodes = instances.nodes_beside(connection, names)
    return [node for node in nodes if node.host_name in names and node.id in running]


def _refusals(nodes: Sequence[Node]) -> list[str]:
    """Return why nodes accept no connection, for each that does not."""
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        return [reason for reason in threads.map(_refusal, nodes) if reason]


def _refusal(node: Node) -> str:
    try:
        with socket.create_connection((node.host, node.peer_port), _CONNECT_SECONDS):
            return ""
    except OSError as error:
        return error.strerror or str(error)
