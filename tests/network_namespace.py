"""Network namespaces of their own, in which tests may load firewall rules."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from serving import Server

_TESTS = Path(__file__).parent


def run_in_namespace(script: Path, data_dir: Path) -> None:
    """Run a script of a test as root in a namespace of its own, and require that it exits with 0. It finds DATA_DIR in
    its environment, for a server whose processes are ended here. Skip the test where that is not possible."""
    if os.geteuid() != 0:
        pytest.skip("only root can load firewall rules and act as another user")
    if not all(map(shutil.which, ("nft", "unshare", "nsenter", "ip"))):
        pytest.skip("nft, unshare, nsenter and ip are not all installed")
    prefix = ("unshare", "--net", "--")
    tried = subprocess.run(
        [*prefix, "nft", "add", "table", "inet", "probe"], capture_output=True, text=True, check=False
    )
    if tried.returncode:
        pytest.skip(f"firewall rules cannot be loaded here: {tried.stderr.strip()}")
    folders = os.pathsep.join(map(str, (script.parent, _TESTS, *filter(None, [os.environ.get("PYTHONPATH")]))))
    environment = os.environ | {"PYTHONPATH": folders, "DATA_DIR": str(data_dir)}
    try:
        ran = subprocess.run(
            [*prefix, sys.executable, script], env=environment, capture_output=True, text=True, timeout=300, check=False
        )
    finally:
        Server(data_dir).clean_up()
    assert ran.returncode == 0, ran.stdout + ran.stderr
