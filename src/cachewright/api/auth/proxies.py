"""The address of a client behind trusted proxies.

A proxy appends the address of its client to X-Forwarded-For, or to Forwarded (RFC 7239). Clients may have sent such a
header themselves, so only the entries of trusted proxies count: the list is read from its end to the first address that
is not a trusted proxy's.
"""

import re
from collections.abc import Iterable, Sequence
from ipaddress import IPv6Address, ip_address, ip_network

from litestar.types import HTTPScope

from cachewright.hosts.addresses import Address

_PAIR = re.compile(r'\s*([\w!#$%&\'*+.^`|~-]+)=("(?:[^"\\]|\\.)*"|[^\s",;]*)\s*([;,]|$)', re.ASCII)


class TrustedProxies:
    def __init__(self, networks: Iterable[str]) -> None:
        """:param networks: trusted addresses and networks. Raises ValueError if one is invalid."""
        self._networks = tuple(ip_network(network) for network in networks)

    def resolve(self, scope: HTTPScope) -> None:
        """Replace the address of the proxy that made the request by the address of its client."""
        if not self._networks:
            return
        client = scope["client"]
        peer = _address(client[0]) if client else None
        if client is None or peer is None or not self._trusts(peer):
            return
        address = self._client_of(peer, scope["headers"])
        if address != peer:
            scope["client"] = (str(address), client[1])

    def _client_of(self, peer: Address, headers: Iterable[tuple[bytes, bytes]]) -> Address:
        """Return the client's address. If the two headers differ, return the proxy's own address, because the client
        may have sent one of them."""
        decoded = [(name, value.decode("latin-1")) for name, value in headers]
        x_forwarded_for = [value for name, value in decoded if name == b"x-forwarded-for"]
        forwarded = [value for name, value in decoded if name == b"forwarded"]
        addresses = set()
        if x_forwarded_for:
            addresses.add(self._last_untrusted(peer, _listed(",".join(x_forwarded_for))))
        if forwarded:
            addresses.add(self._last_untrusted(peer, _forwarded(",".join(forwarded))))
        return addresses.pop() if len(addresses) == 1 else peer

    def _last_untrusted(self, peer: Address, hops: Sequence[Address | None]) -> Address:
        """Return the nearest address that is not a trusted proxy's. If a hop is unreadable, return the proxy that has
        reported it."""
        nearest = peer
        for hop in reversed(hops):
            if hop is None:
                break
            nearest = hop
            if not self._trusts(hop):
                break
        return nearest

    def _trusts(self, address: Address) -> bool:
        return any(address in network for network in self._networks)


def _listed(value: str) -> list[Address | None]:
    return [_address(part) for part in value.split(",")]


def _forwarded(value: str) -> list[Address | None]:
    """Return the address in `for` of each element. A malformed header has a single unreadable hop."""
    hops: list[Address | None] = []
    hop: Address | None = None
    at = 0
    while at < len(value):
        pair = _PAIR.match(value, at)
        if pair is None:
            return [None]
        if pair[1].lower() == "for":
            hop = _address(re.sub(r"\\(.)", r"\1", pair[2].strip('"')))
        if pair[3] != ";":
            hops.append(hop)
            hop = None
        at = pair.end()
    return hops


def _address(text: str) -> Address | None:
    """Parse `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1` or `[2001:db8::1]:80`. Return None for other text."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
