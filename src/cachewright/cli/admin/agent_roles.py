"""`cachewright hosts grant`, and what other commands of hosts do to roles and schemas of agents in PostgreSQL."""

import re
import secrets
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from cachewright.cli.admin.data_dir import DataDirectory
from cachewright.model.hosts import EMBEDDED
from cachewright.private_files import write_private
from cachewright.services import hosts as service
from cachewright.services.accounts import InvalidInput
from cachewright.store import agent_schemas
from cachewright.store.agent_access import AgentAccess
from cachewright.store.agent_schemas import AgentSchemas, MayNotChangeRoles
from cachewright.store.postgres import SHORT_WAITS, PostgresDatabase

_STOP_SECONDS = 5.0
"""Time within which the agent of a removed host notices the removal and stops."""

_POLL_SECONDS = 0.2
_ANY = "*"


def grant(
    name: Annotated[str, Parameter(help="Name of the host.")],
    *,
    apply: Annotated[bool, Parameter(negative="", help="Run the statements instead of printing them.")] = False,
    password_file: Annotated[
        Path | None,
        Parameter(
            help="Password file (pgpass) for the agent, from which the role gets its password. A missing file is "
            "created, with a new password. Without this option the role keeps its password."
        ),
    ] = None,
    folder: DataDirectory,
) -> None:
    """Give the agent of a host a role of its own in PostgreSQL, which has no access to other hosts.

    Prints the statements, for an administrator of the database. The command may be repeated.

    Example: cachewright hosts grant host2 --password-file host2.pgpass --apply --data-dir ./data
    """
    with folder.database() as database:
        if not isinstance(database, PostgresDatabase):
            raise InvalidInput("agents need a PostgreSQL database")
        with database.read() as connection:
            service.require(connection, name)
        if name == EMBEDDED:
            raise InvalidInput("the host of the server has no agent")
        access = AgentSchemas(database).ensure(name)
        password = _password(password_file, access) if password_file else None
        if not apply:
            with database.read() as connection:
                for statement in agent_schemas.grant(connection, access, password):
                    print(f"{statement.as_string(None)};")
            return
    with folder.change("dcs:hosts:grant", subject=name) as connection:
        connection.exec_driver_sql(SHORT_WAITS)
        try:
            agent_schemas.run_for_role(connection, agent_schemas.grant(connection, access, password))
        except MayNotChangeRoles as error:
            advice = "let an administrator of the database run the statements that are printed without --apply"
            raise InvalidInput(f"{error}; {advice}") from error
    print(f"The role of host {name} is {access.name}.")


def make_schema(folder: DataDirectory, name: str) -> None:
    """Make the schema of a new host."""
    with _schemas(folder) as schemas:
        if schemas:
            schemas.ensure(name)


def remove_access(folder: DataDirectory, name: str) -> None:
    """Remove the schema and the role of a host that was removed, when its agent has stopped."""
    with _schemas(folder) as schemas:
        if not schemas:
            return
        deadline = time.monotonic() + _STOP_SECONDS
        while schemas.sessions(name) and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        for role in schemas.remove_unused():
            print(f"The role {role} has no rights any more; let an administrator of the database drop it.")


@contextmanager
def _schemas(folder: DataDirectory) -> Iterator[AgentSchemas | None]:
    with folder.database() as database:
        yield AgentSchemas(database) if isinstance(database, PostgresDatabase) else None


def _password(file: Path, access: AgentAccess) -> str:
    """Return the password of the role in a password file of libpq, and create a missing file. Raises InvalidInput
    if it has none, or others can read it."""
    if not file.exists():
        made = secrets.token_urlsafe(32)
        entry = ":".join(
            (_ANY, _ANY, *(re.sub(r"([:\\])", r"\\\1", part) for part in (access.database, access.name)), made)
        )
        write_private(file, f"{entry}\n".encode())
        print(f"The password is in {file}, for the agent of host {access.host}.", file=sys.stderr)
        return made
    if file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise InvalidInput(f"others can read {file}: chmod 600 {file}")
    for line in file.read_text().splitlines():
        fields = [re.sub(r"\\(.)", r"\1", field) for field in re.split(r"(?<!\\):", line)]
        if len(fields) == 5 and fields[3] == access.name:
            return fields[4]
    raise InvalidInput(f"{file} has no password of {access.name}")
