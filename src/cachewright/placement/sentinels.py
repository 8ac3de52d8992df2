"""Decide which hosts run the sentinels. Pure.

They are on different hosts, as far as there are enough, so that two of three are left when a host is lost. Like nodes
of an instance they are all on loopback addresses or on others, because they must reach each other and the nodes. While
there are nodes that only the host of the server reaches, they are all there.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec

from cachewright.hosts.addresses import is_loopback
from cachewright.model.hosts import EMBEDDED, HostState
from cachewright.model.sentinels import QUORUM, Sentinel


class SentinelHost(msgspec.Struct, frozen=True, kw_only=True):
    """A host that may run sentinels.

    :ivar address: IP address that its nodes listen on; empty before its first report.
    :ivar reports: whether it reports, :ivar is_away: it has not for so long that its nodes are made again elsewhere.
    :ivar runs_sentinels: whether its agent can start some, and they would reach all nodes.
    """

    name: str
    address: str
    state: HostState
    reports: bool
    is_away: bool = False
    runs_sentinels: bool = True


class SentinelMove(msgspec.Struct, frozen=True):
    """A sentinel that gets the host `to`."""

    sentinel: Sentinel
    to: str


def reachable(hosts: Iterable[SentinelHost], address: str) -> list[SentinelHost]:
    """Return the hosts whose nodes and sentinels reach those at the address of the server: all or none of them are on
    loopback."""
    return [host for host in hosts if host.address and is_loopback(host.address) == is_loopback(address)]


def first_hosts(hosts: Iterable[SentinelHost], address: str, count: int) -> list[str]:
    """Return the names of the hosts of `count` new sentinels. Without a host that takes them, that of the server.

    :param address: of the host of the server.
    """
    names = taking(hosts, address) or [EMBEDDED]
    return [names[number % len(names)] for number in range(count)]


def next_move(
    fleet: Sequence[Sentinel], hosts: Mapping[str, SentinelHost], address: str, answering: Collection[str]
) -> SentinelMove | None:
    """Return the move of a sentinel that is due, one at a time; None if all are in their place.

    A sentinel leaves a host that is drained or runs no sentinels, and, unless it answers, one that is lost, removed or
    away, or that has another address now. If a host has several sentinels and another one none, one of them moves.

    One that does not answer may run and reach what the server does not. It is made again only while the majority
    answers the server: otherwise both sides of a broken network could perform failovers. Known to end are those of a
    host whose agent reports, which removes them, and of one that was given up.

    :param address: of the host of the server.
    :param answering: ids of sentinels that answer.
    """
    names = taking(hosts.values(), address)
    used = Counter(sentinel.host_name for sentinel in fleet)
    has_majority = sum(sentinel.id in answering for sentinel in fleet) >= QUORUM
    for sentinel in fleet:
        host, answers = hosts.get(sentinel.host_name), sentinel.id in answering
        if _must_leave(sentinel, host, answers=answers) and (answers or has_majority or _is_known_to_end(host)):
            others = [name for name in names if name != sentinel.host_name or not answers]
            if others:
                return SentinelMove(sentinel, min(others, key=lambda name: (used[name], others.index(name))))
    free = [name for name in names if not used[name]]
    crowded = [sentinel for sentinel in fleet if used[sentinel.host_name] > 1 and sentinel.id in answering]
    if any(is_loopback(sentinel.host) != is_loopback(address) for sentinel in fleet):
        return None  # the server got another address: they would not reach each other
    return SentinelMove(crowded[-1], free[0]) if free and crowded else None


def _must_leave(sentinel: Sentinel, host: SentinelHost | None, *, answers: bool) -> bool:
    if host is not None and host.reports and (host.state == "draining" or not host.runs_sentinels):
        return True
    is_gone = host is None or host.state == "lost" or host.is_away or (host.reports and host.address != sentinel.host)
    return is_gone and not answers


def _is_known_to_end(host: SentinelHost | None) -> bool:
    """Whether a sentinel that does not answer ends when it is recorded elsewhere, or has ended. The host of the server
    is another machine after a takeover, which tells nothing of the former one."""
    return host is None or host.state == "lost" or (host.reports and host.name != EMBEDDED)


def taking(hosts: Iterable[SentinelHost], address: str) -> list[str]:
    """Return the names of hosts that take new sentinels, that of the server first."""
    names = [
        host.name
        for host in reachable(hosts, address)
        if host.state == "active" and host.reports and host.runs_sentinels
    ]
    return sorted(names, key=lambda name: (name != EMBEDDED, name))
