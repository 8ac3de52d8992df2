"""A database and a task, for tests that need some and are not about what is in them."""

import subprocess
from pathlib import Path
from typing import Any

from cryptography.fernet import Fernet

from cachewright.store.database import Database
from cachewright.store.records import Task
from cachewright.store.sealing import Sealer


def new_database(folder: Path) -> Database:
    """`test.db` in that folder, with this release's tables and nothing in them. Whoever asks for it closes it."""
    database = Database(f"sqlite:///{folder / 'test.db'}", Sealer([Fernet.generate_key()]))
    database.migrate()
    return database


def stored_bytes(database_file: Path) -> bytes:
    """Contents of a SQLite database that may be open, with its log. Another process reads them: one that closes a file
    of a database which it has open loses its locks on it."""
    files = sorted(database_file.parent.glob(f"{database_file.name}*"))
    return subprocess.run(["cat", *files], capture_output=True, check=True).stdout


def a_task(**members: Any) -> Task:
    """One that waits, but for these members."""
    plain: dict[str, Any] = {
        "id": "t",
        "instance_id": "i",
        "project_id": "p",
        "kind": "k",
        "name": "K",
        "status": "WAITING",
        "params": {},
        "details": {},
        "user_id": "u",
        "user_name": "n",
        "created_at": 1,
    }
    return Task(**plain | members)
