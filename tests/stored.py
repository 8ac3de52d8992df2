"""A database and a task, for tests that need some and are not about what is in them."""

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
