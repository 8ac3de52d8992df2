"""How the control plane signs in to the nodes of an instance.

A node listens for the control plane on a Unix socket in its own folder, which only the owner of the server can open: a
process that takes over the TCP port of a stopped node learns no secret. Nodes that an earlier release started have no
such socket until their next start.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from cachewright.model.instances import Node
from cachewright.valkey.acl import CONTROL_USER

SOCKET = "valkey.sock"
"""Name of the socket in the node's folder."""

_LONGEST_PATH = 107
"""Bytes that a Unix socket address holds (unix(7)), without the final null."""


class Access(msgspec.Struct, frozen=True):
    """Credentials for the nodes of one instance.

    :ivar secret: password of the user `cachewright`.
    :ivar password: the clients' password, for nodes that do not have that user yet.
    :ivar nodes_dir: folder that holds a folder for each node.
    """

    secret: str
    password: str | None
    nodes_dir: Path


class Address(msgspec.Struct, frozen=True):
    """Where and as whom to connect. `path` is a Unix socket, or None for TCP."""

    path: str | None
    host: str
    port: int
    username: str | None
    password: str | None

    def options(self) -> dict[str, Any]:
        """Keyword arguments of `valkey.asyncio.Valkey`."""
        place = {"unix_socket_path": self.path} if self.path else {"host": self.host, "port": self.port}
        return {**place, "username": self.username, "password": self.password}


@contextmanager
def address(node: Node, access: Access) -> Iterator[Address]:
    """The node's address, valid inside the `with` block. NodeUnreachable is raised by the connection, not here."""
    if node.access == "password":
        yield Address(None, node.host, node.port, None, access.password)
    elif node.access == "tcp":
        yield Address(None, node.host, node.port, CONTROL_USER, access.secret)
    else:
        with _short(access.nodes_dir / node.id) as folder:
            yield Address(f"{folder}/{SOCKET}", node.host, node.port, CONTROL_USER, access.secret)


@contextmanager
def _short(folder: Path) -> Iterator[str]:
    """A name of the folder that leaves room for the socket's; long paths go through a descriptor of the folder."""
    if len(os.fsencode(folder / SOCKET)) <= _LONGEST_PATH:
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
