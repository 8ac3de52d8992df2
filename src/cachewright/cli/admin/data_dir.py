"""Access to the data directory of a server, while the server runs or not.

A user who can read its key file has full access to the directory. Each change is recorded in the audit log of the
projects that it affects.
"""

import getpass
import sys
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated

import msgspec
import sqlalchemy as sa
from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from cachewright.cli.settings import DatabaseUrl, read_database_url
from cachewright.clock import now_ms
from cachewright.config import Settings
from cachewright.errors import DatabaseUnavailable
from cachewright.model.audit import AuditEntry
from cachewright.services.accounts import InvalidInput
from cachewright.store import audit, keys, users
from cachewright.store.database import Database, DatabaseNotReady
from cachewright.store.encryption import WrongKey
from cachewright.store.opening import database_place, open_in_use

AsJson = Annotated[bool, Parameter(negative="", help="Print JSON.")]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class DataDirectory:
    """Options of commands that use a data directory."""

    data_dir: Annotated[Path, Parameter(help="Data directory of the server.", env_var="CACHEWRIGHT_DATA_DIR")]
    secret_key_file: Annotated[
        Path | None,
        Parameter(help="Key file of the server, if not in the data directory.", env_var="CACHEWRIGHT_SECRET_KEY_FILE"),
    ] = None
    database_url: DatabaseUrl = None

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        with self.database() as database, database.read() as connection:
            yield connection

    @contextmanager
    def change(
        self, action: str, *, user: str | None = None, key: str | None = None, subject: str = ""
    ) -> Iterator[sa.Connection]:
        """Open a transaction that also adds an audit entry to each project in which the user, or the owner of the key,
        has a role before or after it. Without a user and a key, the entry names `subject` and
        belongs to no project."""
        with self.database() as database, database.write() as connection:
            affected = _projects(connection, user, key)
            yield connection
            affected |= _projects(connection, user, key)
            projects: list[str | None] = [*sorted(affected)] or [None]
            for project_id in projects:
                audit.add(connection, _entry(action, project_id, user or key or subject))

    @cached_property
    def _url(self) -> str | None:
        """The URL of the database. Read once, because that removes it from the environment."""
        try:
            return read_database_url(self.database_url)
        except ValueError as error:
            sys.exit(f"cachewright: {error}")

    @contextmanager
    def database(self) -> Iterator[Database]:
        """Open the server's database. Exits with one line if it cannot be used, or the change is not valid."""
        settings = Settings(
            data_dir=self.data_dir.absolute(), database_url=self._url, secret_key_file=self.secret_key_file
        )
        try:
            with closing(open_in_use(settings)) as database:
                yield database
        except (DatabaseNotReady, WrongKey, InvalidInput) as error:
            sys.exit(f"cachewright: {error}")
        except OSError as error:
            sys.exit(f"cachewright: cannot use {self.data_dir}: {error.strerror}")
        except DatabaseUnavailable as error:
            sys.exit(f"cachewright: cannot use {database_place(settings)}: {error}")


def print_rows(rows: list[dict[str, object]], columns: tuple[str, ...], as_json: bool) -> None:
    """Print rows as a table of `columns`, or all members as JSON."""
    if as_json:
        print(msgspec.json.format(msgspec.json.encode(rows)).decode())
        return
    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*(_cell(row[column]) for column in columns))
    Console(soft_wrap=True).print(table)


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{name}: {member}" for name, member in value.items()) or "-"
    return str(value)


def _projects(connection: sa.Connection, user_name: str | None, access_key: str | None) -> set[str]:
    key = keys.get(connection, access_key) if access_key else None
    user = users.named(connection, user_name) if user_name else None
    user_id = key.user_id if key else user.id if user else None
    return {project.id for project in users.projects_of(connection, user_id)} if user_id else set()


def _entry(action: str, project_id: str | None, subject: str) -> AuditEntry:
    return AuditEntry(
        at=now_ms(),
        request_id=uuid.uuid4().hex,
        project_id=project_id,
        user_id="",
        user_name=getpass.getuser(),
        credential="command line",
        source="local",
        action=action,
        method="",
        path=subject,
        status=200,
    )
