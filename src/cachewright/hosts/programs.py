"""Programs that run as detached processes: names of their files, and how they are started."""

import shutil
from pathlib import Path

import msgspec

from cachewright.hosts.host import CONFIG, HAPROXY_CONFIG, SENTINEL_CONFIG

_PLACES = "/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin"
"""Where HAProxy is looked for besides the PATH: a service often runs without the folders of system programs."""


class Program(msgspec.Struct, frozen=True, kw_only=True):
    """Every file name is relative to the folder of the process.

    :ivar config: name of the configuration file, which the command line contains with its folder.
    :ivar before: arguments before the configuration file, :ivar after: arguments after it.
    """

    config: str
    pid_file: str
    log: str
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


NODE = Program(config=CONFIG, pid_file="valkey.pid", log="valkey.log")
SENTINEL = Program(config=SENTINEL_CONFIG, pid_file="valkey.pid", log="valkey.log", after=("--sentinel",))
HAPROXY = Program(
    config=HAPROXY_CONFIG, pid_file="haproxy.pid", log="haproxy.log", before=("-D", "-p", "haproxy.pid", "-f")
)


def find_haproxy() -> Path | None:
    """Return the path of HAProxy, or None if it is not installed."""
    found = shutil.which("haproxy") or shutil.which("haproxy", path=_PLACES)
    return Path(found) if found else None
