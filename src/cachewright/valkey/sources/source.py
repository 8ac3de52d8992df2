"""A server outside: how to reach it, and requests to it. Its addresses are checked before they are used, and the size
and the time of its replies are limited.
"""

import ipaddress
import ssl
from collections.abc import Sequence
from typing import Any

import msgspec

from cachewright.errors import CachewrightError
from cachewright.hosts.addresses import Address as IpAddress
from cachewright.hosts.addresses import is_source, literal, own_addresses, resolved
from cachewright.model.online_migrations import SourceTls
from cachewright.threads import in_background
from cachewright.valkey.access import Address
from cachewright.valkey.client import NODE_GONE, NodeBusy, NodeRefused
from cachewright.valkey.single_request import Command, request_at

_ANSWER_SECONDS = 5.0
_MOST_CHARACTERS = 400
_SHORTEST_PART = 8
"""Characters of a password. A server may show its first characters only; fewer than these say little."""


class SourceUnusable(CachewrightError):
    """A source does not answer, refuses, or cannot be migrated. The message is for the owner of the migration, and does
    not contain the password.

    :ivar passes: whether the reason may be temporary.
    """

    def __init__(self, message: str, *, passes: bool) -> None:
        # A source may name itself and its primaries as it likes.
        self.message = "".join(sign if sign.isprintable() else "?" for sign in message)[:_MOST_CHARACTERS]
        super().__init__(self.message)
        self.passes = passes


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """How to reach a source.

    :ivar addresses: `HOST:PORT` of servers or sentinels; the first that answers is used.
    :ivar user: user of the access control list; None for the user `default`.
    :ivar watched_name: name of the primary at its sentinels; None if they watch only one.
    :ivar tls: how certificates are verified; None for no TLS. :ivar authorities: see `Address`, as `identity`.
    :ivar networks: networks of permitted addresses; none for every address that is not of this installation.
    :ivar own: addresses of the other machines of this installation.
    """

    addresses: tuple[str, ...]
    user: str | None = None
    password: str | None = None
    watched_name: str | None = None
    tls: SourceTls | None = None
    authorities: str = ""
    identity: str | None = None
    networks: tuple[str, ...] = ()
    own: tuple[str, ...] = ()

    def place(self, address: str, port: int, name: str) -> Address:
        """Return how to connect to an address that was checked, of the host with this name."""
        return Address(
            None,
            address,
            port,
            self.user,
            self.password,
            authority=self.authorities if self.tls else None,
            server_name=name,
            checks_name=self.tls == "host",
            identity=self.identity if self.tls else None,
            is_named=False,
        )


async def ask(source: Source, host: str, port: int, commands: Sequence[Command]) -> list[Any]:
    """Send commands to a server of the source. Raises SourceUnusable, with the server's own words if it refuses."""
    place = f"{host}:{port}"
    address = source.place(str(await checked_address(source, host)), port, host)
    try:
        return await request_at(address, place, commands, _ANSWER_SECONDS)
    except NodeRefused as refusal:
        words = without_secret(str(refusal), source.password)
        raise SourceUnusable(f"{place} refuses: {words}", passes=isinstance(refusal, NodeBusy)) from refusal
    except TimeoutError as error:
        raise SourceUnusable(f"{place} does not answer", passes=True) from error
    except NODE_GONE as error:
        passes = certificate_error(error) is None
        raise SourceUnusable(f"{place} cannot be reached: {error}"[:200], passes=passes) from error


def certificate_error(error: BaseException) -> ssl.SSLCertVerificationError | None:
    """Return the refused certificate that has caused an error; None if it has another cause. A refusal stays until the
    source or its settings are changed. Pure."""
    found: BaseException | None = error
    while found is not None and not isinstance(found, ssl.SSLCertVerificationError):
        found = found.__cause__ or found.__context__
    return found


def without_secret(words: str, secret: str | None) -> str:
    """Return the words of a server without a secret: servers repeat the arguments of a command that they do not
    know, and the first characters of long ones."""
    if not secret:
        return words
    words = words.replace(secret, "***")
    for end in range(len(secret) - 1, _SHORTEST_PART - 1, -1):
        words = words.replace(secret[:end], "***")
    return words


async def checked_address(source: Source, host: str) -> IpAddress:
    """Return the first permitted address of a host. Raises SourceUnusable."""
    try:
        found = literal(host)
        addresses = [found] if found else await in_background(resolved, host)
    except (OSError, UnicodeError) as error:
        raise SourceUnusable(f"the host {host} is not known", passes=True) from error
    own = await in_background(own_addresses) | {ipaddress.ip_address(text) for text in source.own}
    networks = tuple(map(ipaddress.ip_network, source.networks))
    for address in addresses:
        if is_source(address, networks, own):
            return address
    raise SourceUnusable(f"the address of {host} is not permitted (--migration-network)", passes=False)


def split_address(text: str) -> tuple[str, int]:
    """Return host and port of `HOST:PORT` or `[V6]:PORT`. Raises SourceUnusable."""
    host, _, port = text.strip().rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise SourceUnusable(f"{text!r} is not HOST:PORT", passes=False)
    return host.strip("[]"), int(port)
