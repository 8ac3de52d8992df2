"""IP addresses: those of this machine, allowed receivers of a tenant's requests, and the networks that limits count."""

import ipaddress
import socket
from collections.abc import Collection, Iterator
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import psutil

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

LOOPBACK = "127.0.0.1"

_LINK_LOCAL = ("169.254.0.0/16", "fe80::/10")
_METADATA = ("100.100.100.200/32", "fd00:ec2::254/128", "fd20:ce::254/128", "fd00:c1::a9fe:a9fe/128")
"""Metadata services of clouds that are not at a link-local address."""

_NO_RECEIVER = ("0.0.0.0/8", "::/128", "224.0.0.0/3", "ff00::/8")
"""Unspecified, multicast, reserved and broadcast addresses."""

_NEVER = tuple(map(ipaddress.ip_network, (*_LINK_LOCAL, *_METADATA, *_NO_RECEIVER)))
_FIRST_LOOPBACK, _OTHER_LOOPBACK = IPv4Address("127.0.1.1"), 1024
"""Addresses for instances that need a port which another instance has at the usual address."""

_SITE_LOCAL = ipaddress.ip_network("fec0::/10")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_IPV4_COMPATIBLE = ipaddress.ip_network("::/96")
_NETWORK_BITS = 64


@lru_cache(maxsize=4096)
def network(address: str) -> str:
    """Return the unit that limits count: an IPv4 address, or the 64-bit network of an IPv6 address, because one
    subscriber has such a network. Other text, such as the peer of a Unix socket, is returned unchanged."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, IPv4Address):
        return address
    if parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((int(parsed), _NETWORK_BITS), strict=False))


def is_allowed(address: Address, *, to_private: bool, own: Collection[Address] = ()) -> bool:
    """Whether a request may be sent to `address`.

    :param to_private: whether loopback, private and other addresses that are not on the internet are allowed.
    :param own: addresses of this machine, refused unless `to_private`: cache nodes listen there.
    """
    for reached in _with_embedded_address(address):
        if any(reached in blocked for blocked in _NEVER):
            return False
        if not to_private and (not reached.is_global or reached in _SITE_LOCAL or reached in own):
            return False
    return True


def is_source(address: Address, networks: Collection[Network], own: Collection[Address]) -> bool:
    """Whether a tenant may migrate data from `address`: one of the `networks`. Without networks, every address that is
    not of this machine, because nodes of other tenants listen there.

    :param own: addresses of this machine.
    """
    if not is_allowed(address, to_private=True):
        return False
    reached = _with_embedded_address(address)
    if networks:
        return all(any(one in network for network in networks) for one in reached)
    return not any(one.is_loopback or one in own for one in reached)


def literal(host: str) -> Address | None:
    """Parse an address without a name server: `127.0.0.1`, but also `2130706433` and `0x7f.1`, which the system
    resolves to the same. Return None for a name."""
    try:
        return _addresses(host, socket.AI_NUMERICHOST)[0]
    except (OSError, UnicodeError, ValueError):
        return None


def resolved(host: str) -> list[Address]:
    """Return the addresses of a name in the order in which to try them. Blocks until the name server answers. Raises
    OSError or UnicodeError if the name has no address."""
    return _addresses(host)


def node_addresses(first: str) -> Iterator[str]:
    """Yield the addresses on which nodes can listen if `first` is the usual one. Each loopback address is one of this
    machine without any configuration, so an instance can have one to itself."""
    yield first
    if is_loopback(first):
        for number in range(_OTHER_LOOPBACK):
            yield str(_FIRST_LOOPBACK + number)


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches the address. False for a name."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def is_local(address: str) -> bool:
    """Whether a process of this machine can listen on the IPv4 address."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


def parse_node_address(text: str) -> str:
    """Return the address of the option `--node-address`. Raises ValueError with a message for people."""
    try:
        address = IPv4Address(text)
    except ValueError as error:
        raise ValueError(f"--node-address {text} is not an IPv4 address") from error
    if any(address in network for network in map(ipaddress.ip_network, _NO_RECEIVER) if network.version == 4):
        raise ValueError(f"--node-address {text}: nodes tell clients their address, so it must be one of this host")
    return str(address)


def own_addresses() -> frozenset[Address]:
    """Return the addresses of this machine's network interfaces."""
    own = set()
    for addresses in psutil.net_if_addrs().values():
        for entry in addresses:
            if entry.family in {socket.AF_INET, socket.AF_INET6}:
                own.add(ipaddress.ip_address(entry.address))
    return frozenset(own)


def _addresses(host: str, flags: int = 0) -> list[Address]:
    results = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=flags)
    return list(dict.fromkeys(ipaddress.ip_address(str(entry[4][0])) for entry in results))


def _with_embedded_address(address: Address) -> list[Address]:
    """Return the address itself, and the IPv4 address to which a translator or a tunnel maps it."""
    if isinstance(address, IPv4Address):
        return [address]
    if address.ipv4_mapped:
        return [address.ipv4_mapped]
    reached: list[Address] = [IPv6Address(int(address))]  # without its zone, which no network contains
    if address.sixtofour:
        reached.append(address.sixtofour)
    if address.teredo:
        reached.extend(address.teredo)
    if address in _NAT64 or (address in _IPV4_COMPATIBLE and int(address) > 1):
        reached.append(IPv4Address(int(address) & 0xFFFFFFFF))
    return reached
