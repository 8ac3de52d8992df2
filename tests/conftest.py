"""Fixtures: a server of its own for tests that kill it, a shared one for tests that only talk to it."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))

from serving import Server  # found through the line above

settings.register_profile("suite", deadline=None)  # machines are shared; a slow example is no failure
settings.load_profile("suite")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Shared by the tests of one worker process. Leave it as it was."""
    yield from _running(tmp_path_factory.mktemp("server") / "data")


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    yield from _running(tmp_path / "data")


@pytest.fixture(scope="session")
def client(server: Server) -> Any:
    return server.client()


def _running(data_dir: Path) -> Iterator[Server]:
    started = Server(data_dir)
    try:
        started.start()
        yield started
    finally:
        started.clean_up()
