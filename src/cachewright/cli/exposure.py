"""Finds what other users of the host or the network can reach of a server. `serve` logs it, `doctor` prints it."""

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from cachewright.config import Settings, show_ports
from cachewright.hosts.addresses import is_loopback, literal
from cachewright.hosts.server_binary import has_tls

_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_FOLDER_MODE = stat.S_IRWXU
_FILE_MODE = stat.S_IRUSR | stat.S_IWUSR


class Exposure(msgspec.Struct, frozen=True):
    """:ivar subject: the user, the network or the files.
    :ivar remedy: what the operator should do.
    """

    subject: str
    message: str
    remedy: str


def of_user() -> Iterator[Exposure]:
    if os.geteuid() == 0:
        yield Exposure(
            "user",
            "the server and its nodes run as root",
            "Run them as a dedicated user, so that a vulnerability in either does not expose the host.",
        )


def of_network(endpoint: str) -> Iterator[Exposure]:
    """`endpoint` is the URL that the server listens at."""
    url = urlsplit(endpoint)
    if url.scheme == "http" and not _is_loopback(url.hostname or ""):
        yield Exposure(
            "network",
            f"{endpoint} is not encrypted and not on loopback",
            "Others can read passwords and tokens in transit: use --tls-cert and --tls-key, or a proxy with TLS.",
        )


def of_nodes(settings: Settings) -> Iterator[Exposure]:
    """Find what other machines reach of caches."""
    address = settings.node_host
    if is_loopback(address):
        return
    yield Exposure(
        "node address",
        f"caches of new instances listen on {address}, and clients connect to them without TLS",
        "Others can read passwords and data in transit: use a network that only clients of the caches reach.",
    )
    if not has_tls(settings.valkey_binary):
        yield Exposure(
            "node address",
            f"other machines reach the cluster bus on {address}, which has no password without TLS between nodes",
            f"Block ports {show_ports(settings.bus_ports)} from other machines, or use a valkey-server with TLS.",
        )


def of_folder(data_dir: Path) -> Iterator[Exposure]:
    mode = _mode(data_dir)
    if mode & _OTHERS:
        message = f"other users can read {data_dir} (mode {mode:o})"
        yield Exposure("data directory", message, f"It holds secrets: chmod 700 {data_dir}")


def of_files(settings: Settings) -> Iterator[Exposure]:
    """Find secrets that other users can read. A file outside the data directory may be readable by a group."""
    folder = settings.data_dir
    for path in _files_of(folder):
        if _mode(path) & _OTHERS:
            yield _readable(path)
    for outside in (settings.secret_key_file, settings.tls_key):
        if outside and outside.parent != folder and _mode(outside) & stat.S_IRWXO:
            yield _readable(outside)
    if folder.exists() and folder.stat().st_uid not in {0, os.geteuid()}:
        message = f"{folder} belongs to another user (id {folder.stat().st_uid}), who can replace its files"
        yield Exposure("files", message, f"chown it to user {os.geteuid()}.")


def restrict(data_dir: Path) -> list[Exposure]:
    """Restrict the data directory and its files to their owner, where the system permits; the changes made."""
    changed = []
    mode = _mode(data_dir)
    if mode & _OTHERS and not mode & stat.S_ISVTX:  # a directory such as /tmp is shared
        with suppress(PermissionError):
            data_dir.chmod(_FOLDER_MODE)
            changed.append(_restricted(data_dir, mode))
    modes = {path: _restrict_file(path) for path in _files_of(data_dir)}
    return changed + [_restricted(path, was) for path, was in modes.items() if was]


def _restrict_file(path: Path) -> int:
    """Restrict a file; its old mode, or 0 if it was right or could not be changed. Does not follow links, which other
    users could have created."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            found = os.fstat(descriptor)
            mode = stat.S_IMODE(found.st_mode)
            if stat.S_ISREG(found.st_mode) and mode & _OTHERS:
                os.fchmod(descriptor, _FILE_MODE)
                return mode
        finally:
            os.close(descriptor)
    return 0


def _files_of(folder: Path) -> list[Path]:
    """Files of the server, most of them with secrets. Nodes have their own directories."""
    names = ("secret.key", "credentials.json", "metrics.token", "server.lock")
    return [*(folder / name for name in names), *sorted(folder.glob("cachewright.db*"))]


def _mode(path: Path) -> int:
    """Permission bits; 0 if the file does not exist."""
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return 0


def _readable(path: Path) -> Exposure:
    return Exposure("files", f"other users can read {path} (mode {_mode(path):o})", f"chmod 600 {path}")


def _restricted(path: Path, mode: int) -> Exposure:
    now = _FOLDER_MODE if path.is_dir() else _FILE_MODE
    message = f"other users could read {path} (mode {mode:o}); mode is now {now:o}"
    return Exposure("files", message, "If other users may have read it, rotate the secrets in it.")


def _is_loopback(host: str) -> bool:
    address = literal(host)
    return address.is_loopback if address else host == "localhost"
