"""Options that several commands share with `cachewright serve`: they must be given the same values."""

import shutil
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from cachewright.config import DEFAULT_BUS_PORTS, show_ports

BUS_PORTS = show_ports(DEFAULT_BUS_PORTS)

BusPorts = Annotated[
    str,
    Parameter(
        help="FIRST-LAST: ports of this machine that only nodes connect to, for the cluster bus of new nodes.",
        env_var="CACHEWRIGHT_BUS_PORTS",
    ),
]
ValkeyBinary = Annotated[
    Path | None,
    Parameter(
        help="valkey-server to run instead of the packaged one; with TLS in it, nodes of new instances use that.",
        env_var="CACHEWRIGHT_VALKEY_BINARY",
    ),
]


def absolute_binary(binary: Path) -> Path:
    """The program that this path, or this name on PATH, means here: nodes are started in other folders."""
    return Path(shutil.which(binary) or binary).absolute()
