"""nftables rules that enforce whitelists: from which addresses clients reach nodes of this machine.

They are in one table of a server, which `nft` replaces as a whole or not at all. Every packet from another machine is
compared, so that open connections from other addresses end, too.

Connections from this machine go through loopback. There the rules look at outgoing packets that open a connection,
which have a user: those of the server's own user are accepted, because nodes connect to each other.

Source: nft(8).
"""

import hashlib
import ipaddress
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from cachewright.errors import CachewrightError

_PLACES = "/usr/sbin:/sbin:/usr/bin:/bin"
"""Where nft is looked for besides the PATH: a service often runs without the folders of system programs."""

_SECONDS = 10.0
_SHOWN_CHARACTERS = 300


_Network = TypeVar("_Network", ipaddress.IPv4Network, ipaddress.IPv6Network)


class FirewallFailed(CachewrightError):
    """The rules for clients cannot be loaded."""


class Filtered(msgspec.Struct, frozen=True):
    """Ports of nodes at one address.

    :ivar allowed: networks from which clients may connect, such as `10.0.0.0/24`.
    """

    address: str
    ports: tuple[int, ...]
    allowed: tuple[str, ...]


class ClientFirewall:
    """The table of one server. Methods block, and raise FirewallFailed."""

    def __init__(self, nft: Path, data_dir: Path, owner: int) -> None:
        """:param owner: id of the user who runs the nodes."""
        self._nft = nft
        self._table = f"cachewright_{hashlib.sha256(bytes(data_dir)).hexdigest()[:8]}_clients"
        self._owner = owner
        self._lock = threading.Lock()
        self._loaded: str | None = None
        self._listed = ""

    def check(self) -> None:
        """Check that nft runs, and may change rules. Changes nothing."""
        self._run(f"add table inet {self._table}\n", "-c", "-f", "-")

    def ensure(self, read: Callable[[], Sequence[Filtered]]) -> None:
        """Load rules for what `read` returns, unless they are loaded."""
        with self._lock:
            rules = ruleset(self._table, self._owner, read())
            if rules != self._loaded:
                self._loaded = None
                self._run(rules, "-f", "-")
                self._listed = self._list()
                self._loaded = rules

    def forget_if_changed(self) -> None:
        """Let the next `ensure` load the rules if another program has changed or removed them."""
        with self._lock:
            if self._loaded is not None and self._list() != self._listed:
                self._loaded = None

    def _list(self) -> str:
        """Return the rules as nft prints them; empty without a table."""
        try:
            return self._run("", "list", "table", "inet", self._table)
        except FirewallFailed:
            return ""

    def _run(self, given: str, *arguments: str) -> str:
        """Return what nft prints."""
        command = [str(self._nft), *arguments]
        try:
            ran = subprocess.run(
                command,
                input=given,
                capture_output=True,
                text=True,
                timeout=_SECONDS,
                check=False,
                env={"LC_ALL": "C"},  # not the server's, which may have credentials
            )
        except OSError as error:
            raise FirewallFailed(f"{self._nft} does not start: {error.strerror}") from error
        except subprocess.TimeoutExpired as error:
            raise FirewallFailed(f"{self._nft} does not end") from error
        if ran.returncode:
            raise FirewallFailed(f"{self._nft} refuses: {' '.join(ran.stderr.split())[:_SHOWN_CHARACTERS]}")
        return ran.stdout


def find_nft() -> Path | None:
    """Return the path of nft, or None if it is not installed."""
    found = shutil.which("nft") or shutil.which("nft", path=_PLACES)
    return Path(found) if found else None


def ruleset(table: str, owner: int, filtered: Sequence[Filtered]) -> str:
    """Return input for `nft -f` that replaces the table of this name, or removes it if nothing is filtered."""
    replaced = f"table inet {table}\ndelete table inet {table}\n"
    rules = [_rule(ports) for ports in filtered]
    if not rules:
        return replaced
    chains = {
        "lists": rules,
        "input": ["type filter hook input priority filter; policy accept;", 'iifname "lo" accept', "jump lists"],
        "output": [
            "type filter hook output priority filter; policy accept;",
            'oifname != "lo" accept',
            "tcp flags & (fin | syn | rst | ack) != syn accept",  # the last ones of a connection have no user
            f"meta skuid {owner} accept",
            "jump lists",
        ],
    }
    lines = [line for name, body in chains.items() for line in (f"chain {name} {{", *body, "}")]
    return f"{replaced}table inet {table} {{\n" + "".join(f"{line}\n" for line in lines) + "}\n"


def _rule(filtered: Filtered) -> str:
    """Return the rule that refuses other addresses. Sets of nftables may not contain a network twice."""
    node = ipaddress.ip_address(filtered.address)
    networks = [ipaddress.ip_network(allowed) for allowed in filtered.allowed]
    if isinstance(node, ipaddress.IPv4Address):
        family, own = "ip", _once(network for network in networks if isinstance(network, ipaddress.IPv4Network))
    else:
        family, own = "ip6", _once(network for network in networks if isinstance(network, ipaddress.IPv6Network))
    others = f" {family} saddr != {_set(own)}" if own else ""
    ports = _set(str(port) for port in sorted(set(filtered.ports)))
    return f"{family} daddr {node} tcp dport {ports}{others} reject with tcp reset"


def _once(networks: Iterable[_Network]) -> list[str]:
    return [str(network) for network in ipaddress.collapse_addresses(networks)]


def _set(members: Iterable[str]) -> str:
    return "{ " + ", ".join(members) + " }"
