"""Entries of successful and failed sign-ins in the audit log, in limited numbers."""

import asyncio
import logging
from collections.abc import Sequence

import msgspec
import sqlalchemy as sa

from cachewright.clock import now_ms
from cachewright.errors import ApiError, DatabaseUnavailable
from cachewright.hosts.addresses import network
from cachewright.model.audit import AuditEntry
from cachewright.model.identity import Token, TokenKind, User
from cachewright.services.audit_repeats import AuditRepeats
from cachewright.store import audit, users
from cachewright.store.database import Database

log = logging.getLogger(__name__)

ACTION = "iam:token:create"
UNKNOWN = "(unknown)"
"""User name in entries for all unknown names, because attackers can invent any number of them."""

_FAILURES_SECONDS = 3600.0
_SUCCESSES_SECONDS = 60.0
_SUCCESSES_SINGLY = 10
_KNOWN_MS = 30 * 24 * 3600 * 1000
_MOST_KNOWN = 10_000
_MOST_UNWRITTEN = 100
_PATIENCE_SECONDS = 1.0
_STATUS: dict[TokenKind, int] = {"token": 201, "session": 200}


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """The request of a sign-in.

    :ivar source: address of the client.
    """

    request_id: str
    source: str
    method: str
    path: str


class SignInAudit:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._failures = AuditRepeats(_FAILURES_SECONDS)
        self._successes = AuditRepeats(_SUCCESSES_SECONDS)
        self._unwritten: set[asyncio.Task[None]] = set()
        self._writing = asyncio.Lock()

    def succeeded(self, connection: sa.Connection, user: User, token: Token, origin: Origin) -> None:
        """Store an entry in the project of the token, or in each project of the user if the token has no project."""
        projects = [token.project_id] if token.project_id else _projects(connection, user)
        entry = msgspec.structs.replace(
            _entry(origin, user.id, user.name),
            status=_STATUS[token.kind],
            subjects=(f"{token.kind} {token.digest[:8]}",),
        )
        key = (user.id, token.project_id, token.kind, network(origin.source))
        self._successes.add(connection, key, _per_project(entry, projects), singly=_SUCCESSES_SINGLY)

    def known(self) -> list[tuple[str, str]]:
        """Return name and address of users who have signed in within the last 30 days, oldest first."""
        with self._database.read() as connection:
            return audit.callers(connection, ACTION, now_ms() - _KNOWN_MS, _MOST_KNOWN)

    async def failed(self, name: str, origin: Origin, refusal: ApiError) -> None:
        """Store an entry in each project of the user.

        Failures of one user from one address within an hour share an entry; all unknown names count as one user. While
        the database is unavailable, all entries wait in one thread, and the response waits for at most a second."""
        if len(self._unwritten) >= _MOST_UNWRITTEN:
            log.warning("a failed sign-in is not in the audit log: too many wait for the database")
            return
        writing = asyncio.create_task(self._write_failure(name, origin, refusal))
        self._unwritten.add(writing)
        writing.add_done_callback(self._unwritten.discard)
        await asyncio.wait({writing}, timeout=_PATIENCE_SECONDS)

    async def _write_failure(self, name: str, origin: Origin, refusal: ApiError) -> None:
        async with self._writing:
            await asyncio.to_thread(self._add_failure, name, origin, refusal)

    def _add_failure(self, name: str, origin: Origin, refusal: ApiError) -> None:
        try:
            with self._database.write() as connection:
                user = users.named(connection, name)
                entry = msgspec.structs.replace(
                    _entry(origin, user.id if user else "", user.name if user else UNKNOWN),
                    status=refusal.row.status,
                    error_code=refusal.code,
                )
                key = (entry.user_id, entry.error_code, network(origin.source))
                self._failures.add(connection, key, _per_project(entry, _projects(connection, user)))
        except DatabaseUnavailable as error:
            log.warning("a failed sign-in is not in the audit log: %s", error)


def _projects(connection: sa.Connection, user: User | None) -> Sequence[str | None]:
    projects = users.projects_of(connection, user.id) if user else []
    return [project.id for project in projects] or [None]


def _per_project(entry: AuditEntry, projects: Sequence[str | None]) -> list[AuditEntry]:
    return [msgspec.structs.replace(entry, project_id=project_id) for project_id in projects]


def _entry(origin: Origin, user_id: str, user_name: str) -> AuditEntry:
    return AuditEntry(
        at=now_ms(),
        request_id=origin.request_id,
        project_id=None,
        user_id=user_id,
        user_name=user_name,
        credential="password",
        source=origin.source,
        action=ACTION,
        method=origin.method,
        path=origin.path,
    )
