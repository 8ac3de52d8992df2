"""A data directory with many instances, each with a running node, on which a server can start."""

import tempfile
from pathlib import Path
from typing import Self

from bench import load_registry
from bench.load_registry import Place
from cachewright.cli.demo.server import kill_left_behind
from cachewright.config import Settings
from cachewright.model.hosts import EMBEDDED
from cachewright.services.accounts import first_credentials
from cachewright.store.opening import open_database


class Fleet:
    """`count` instances of one shard and one node, stored and started as by a creation."""

    def __init__(self, count: int) -> None:
        """Return when every node runs."""
        self._folder = tempfile.TemporaryDirectory(prefix="cachewright-bench-", ignore_cleanup_errors=True)
        self.root = Path(self._folder.name) / "data"
        self.root.mkdir(mode=0o700)
        settings = Settings(data_dir=self.root)
        database = open_database(settings)
        with database.write() as connection:
            first = first_credentials(connection)
        assert first
        assert first.project
        place = Place(EMBEDDED, settings.node_host, self.root)
        load_registry.store(database, load_registry.running([place], count, first.project.id))
        database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        kill_left_behind(self.root)
        self._folder.cleanup()
