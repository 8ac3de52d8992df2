"""The server of the demo and of benchmarks."""

import uuid
from pathlib import Path

import pytest

from cachewright.cli.demo.cloud import Cloud
from cachewright.cli.demo.server import ServerFailed, ServerProcess

pytestmark = pytest.mark.server


def test_a_crashed_server_answers_again_at_the_same_address(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "data")
    try:
        access = server.access
        server.crash_and_restart()
        assert server.access == access
        assert Cloud(access).instance(str(uuid.uuid4())) is None
    finally:
        assert server.stop()


def test_a_used_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    with pytest.raises(ServerFailed, match="is not empty"):
        ServerProcess(tmp_path)
