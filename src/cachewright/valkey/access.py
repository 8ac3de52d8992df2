"""Addresses and credentials by which the control plane connects to nodes.

A node listens for the control plane on a Unix socket in its own folder, which only the user of the server can open. So
a process that takes over the TCP port of a stopped node cannot obtain a secret. Nodes that an earlier release started
have no such socket until they are restarted. Nodes on other hosts are reached over TCP, with TLS where they have it:
both sides then prove by certificates of the instance's authority who they are, before a secret is sent.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import msgspec

from cachewright.model.hosts import EMBEDDED
from cachewright.model.instances import Node
from cachewright.valkey.acl import CONTROL_USER
from cachewright.valkey.certificates import authority_certificate, client_certificate

SOCKET = "valkey.sock"
"""Name of the socket in the node's folder."""

TLS_CONTEXTS = 2048
"""Number of instances whose certificates and contexts of TLS are kept in memory: 26 KB each, and 1.6 ms of a processor
to make."""

_LONGEST_PATH = 107
"""Maximum length of a Unix socket address in bytes (unix(7)), without the final null."""


class RequireClaim(Protocol):
    """See `Claim.require`."""

    def __call__(self, *, ending: bool = False) -> None: ...


def no_claim_needed(*, ending: bool = False) -> None:
    """Permit every command."""


class Access(msgspec.Struct, frozen=True):
    """Credentials for the nodes of one instance.

    :ivar secret: password of the user `cachewright`.
    :ivar password: password of clients, for nodes that do not have that user yet.
    :ivar nodes_dir: folder that contains each node's folder with its socket; see `Host.nodes_dir`.
    :ivar require_claim: called before each command to a node of another machine. Raises DatabaseUnavailable in a
        server that another one may have replaced. A node of this machine needs no claim: no other server takes the
        claim while such nodes exist, or reaches them.
    :ivar node_ca: see `Instance.node_ca`.
    :ivar proofs: what an agent gets instead of `node_ca`, see `peer_proofs`.
    """

    secret: str
    password: str | None
    nodes_dir: Path
    require_claim: RequireClaim = no_claim_needed
    node_ca: str | None = None
    proofs: tuple[str, str] | None = None


class Address(msgspec.Struct, frozen=True):
    """Address and user of a connection.

    :ivar path: a Unix socket, or None for TCP.
    :ivar authority: certificates of the authorities by which the host is verified, PEM; empty for those that the
        system knows, None for no TLS.
    :ivar server_name: name that the certificate must have; None for `host`.
    :ivar checks_name: whether the certificate must have that name.
    :ivar identity: private key and certificate by which the control plane proves who it is, PEM; None for no proof.
    :ivar is_named: whether the connection gets the name of the control plane.
    :ivar require_claim: called before each command.
    """

    path: str | None
    host: str
    port: int
    username: str | None
    password: str | None
    authority: str | None = None
    server_name: str | None = None
    checks_name: bool = True
    identity: str | None = None
    is_named: bool = True
    require_claim: RequireClaim = no_claim_needed

    def options(self) -> dict[str, Any]:
        """Return keyword arguments of `valkey.asyncio.Valkey`."""
        target = {"unix_socket_path": self.path} if self.path else {"host": self.host, "port": self.port}
        return {**target, "username": self.username, "password": self.password}


def has_socket(node: Node) -> bool:
    """Whether the control plane reaches the node through its Unix socket, not over TCP."""
    return node.access == "socket" and node.host_name == EMBEDDED


def needs_client_port(node: Node) -> bool:
    """Whether the control plane reaches the node through the port for clients alone, so that port must stay open."""
    return not has_socket(node) and node.tls_listener is None


def can_close_all_ports(node: Node) -> bool:
    """Whether a node outside of clusters can close all its ports: the control plane reaches it otherwise, and it has
    none for TLS, which stays open."""
    return node.host_name == EMBEDDED and node.tls_listener is None


@contextmanager
def address(node: Node, access: Access) -> Iterator[Address]:
    """Yield the node's address, which is valid inside the `with` block."""
    require_claim: RequireClaim = no_claim_needed if node.host_name == EMBEDDED else access.require_claim
    if node.access == "password":
        yield Address(None, node.host, node.port, None, access.password, require_claim=require_claim)
    elif needs_client_port(node):
        yield Address(None, node.host, node.port, CONTROL_USER, access.secret, require_claim=require_claim)
    elif not has_socket(node):
        yield _tls_address(node, access, require_claim)
    else:
        with socket_address(access.nodes_dir / node.id, access.secret) as place:
            yield place


def _tls_address(node: Node, access: Access, require_claim: RequireClaim) -> Address:
    """Return the address at which a node listens with TLS. Raises OSError without the authority of its instance."""
    proofs = access.proofs if access.node_ca is None else peer_proofs(access.node_ca)
    if node.tls_listener is None or proofs is None:
        raise OSError(f"node {node.id} has TLS, and its connection has no authority")
    own = Address(None, node.host, node.tls_listener, CONTROL_USER, access.secret, require_claim=require_claim)
    return _with_proofs(own, proofs, node.id)


def secured(place: Address, authority: str, name: str, issuer: str | None = None) -> Address:
    """Return an address with mutual TLS, for a process with this name in its certificate. The process knows the control
    plane by an authority (private key and certificate, PEM).

    :param issuer: certificate of the authority of the process, PEM; None for the same one.
    """
    certificate, identity = peer_proofs(authority)
    return _with_proofs(place, (issuer or certificate, identity), name)


def _with_proofs(place: Address, proofs: tuple[str, str], name: str) -> Address:
    certificate, identity = proofs
    return msgspec.structs.replace(place, authority=certificate, server_name=name, identity=identity)


@lru_cache(maxsize=TLS_CONTEXTS)
def peer_proofs(authority: str) -> tuple[str, str]:
    """Return the certificate by which processes are verified, and the identity of the control plane."""
    return authority_certificate(authority), client_certificate(authority)


@contextmanager
def socket_address(folder: Path, secret: str) -> Iterator[Address]:
    """Yield the address of the control plane's socket in a folder, which is valid inside the `with` block."""
    with short_path(folder, SOCKET) as short:
        yield Address(f"{short}/{SOCKET}", "", 0, CONTROL_USER, secret)


@contextmanager
def short_path(folder: Path, name: str) -> Iterator[str]:
    """Yield a path of the folder that is short enough for the address of a socket with this name. Long paths go
    through a file descriptor."""
    if len(os.fsencode(folder / name)) <= _LONGEST_PATH:
        yield str(folder)
        return
    try:
        descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        yield str(folder / "missing")[-50:]
        return
    try:
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
