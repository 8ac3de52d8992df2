"""nftables rules that block other users of this machine from the ports between nodes.

Nodes listen on loopback, where every sender is a process of this machine and has a user. The rules match only packets
that open a connection, in both directions: SYN, and SYN with ACK. They block packets without a known user.

Source: nft(8), `meta skuid`.
"""

from collections.abc import Collection, Iterable, Sequence

import msgspec

from cachewright.model.instances import Node


class Protected(msgspec.Struct, frozen=True):
    """Ports of the nodes of one data directory.

    :ivar peers: only the server's user may connect to them or serve on them.
    :ivar clients: every user may connect, only the server's user may serve on them.
    """

    peers: frozenset[int]
    clients: frozenset[int]


def protected_ports(bus_ports: tuple[int, int], nodes: Sequence[Node], addresses: Collection[int] = ()) -> Protected:
    """Return the whole range for the cluster bus, which covers sentinels and new nodes, and the ports of existing
    nodes. Nodes of earlier releases have ports of both kinds in one range.

    :param addresses: ports of the addresses of instances, which may be those of proxies.
    """
    clients = frozenset(node.port for node in nodes).union(addresses)
    of_nodes = {port for node in nodes for port in node.ports}
    return Protected(frozenset(of_nodes.union(range(*bus_ports)) - clients), clients)


def conflicts(protected: Protected, owner: int, listeners: Iterable[tuple[int, int]]) -> dict[int, int]:
    """Return the ports on which the rules would block a program of another user, with the id of that user. `listeners`
    are pairs of port and user id."""
    ports = protected.peers | protected.clients
    return {port: user for port, user in listeners if port in ports and user != owner}


def ruleset(table: str, owner: int, protected: Protected) -> str:
    """Return input for `nft -f` that replaces all rules in the table of this name."""
    connect, either = "tcp flags & (fin | syn | rst | ack) == syn", "tcp flags & (fin | syn | rst) == syn"
    rules = [
        'oifname != "lo" accept',
        f"meta skuid {owner} accept",
        f"{connect} tcp dport {_set(protected.peers)} reject with tcp reset",
        f"{either} tcp sport {_set(protected.peers | protected.clients)} drop",
    ]
    chain = ["type filter hook output priority filter; policy accept;", *rules]
    body = "".join(f"        {line}\n" for line in chain)
    replaced = f"table inet {table}\ndelete table inet {table}\n"
    return f"{replaced}table inet {table} {{\n    chain output {{\n{body}    }}\n}}\n"


def _set(ports: Collection[int]) -> str:
    return "{ " + ", ".join(_ranges(sorted(ports))) + " }"


def _ranges(ports: Sequence[int]) -> list[str]:
    """Return ascending ports as nftables writes intervals."""
    spans: list[list[int]] = []
    for port in ports:
        if spans and port == spans[-1][1] + 1:
            spans[-1][1] = port
        else:
            spans.append([port, port])
    return [str(first) if first == last else f"{first}-{last}" for first, last in spans]
