"""Issue, look up and revoke tokens and sessions.

A token has 256 random bits. The database stores only its SHA-256, which does not reveal the token. Sign-ins are in the
audit log, and failed ones also in the server's log. Neither contains passwords.
"""

import asyncio
import base64
import hashlib
import logging
import secrets
from collections.abc import Callable, Sequence
from typing import Literal

import msgspec
import sqlalchemy as sa
from argon2.exceptions import VerificationError
from argon2.low_level import ARGON2_VERSION

from cachewright import errors
from cachewright.clock import now_ms
from cachewright.errors import ApiError
from cachewright.hosts.addresses import network
from cachewright.logs import LineLimit
from cachewright.model.identity import Project, RoleName, Token, TokenKind, User
from cachewright.services.accounts import HASHER
from cachewright.services.sign_in_audit import Origin, SignInAudit
from cachewright.services.sign_in_limits import Lane, SignInQueue, WrongPasswords
from cachewright.store import tokens, users
from cachewright.store.database import Database

log = logging.getLogger(__name__)

LIFETIME_MS = 24 * 3600 * 1000
TOKENS_PER_USER = 20
_SHOWN_NAME = 80

Outcome = Literal["success", "failed", "limited"]
OUTCOMES: tuple[Outcome, ...] = ("success", "failed", "limited")


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """The project of a requested token, by id or by name.

    :ivar first: whether to use the first project in which the user has a role.
    :ivar of_account: False if the request names another account (domain) than this server's.
    """

    project_id: str | None = None
    project_name: str | None = None
    first: bool = False
    of_account: bool = True

    @property
    def names_project(self) -> bool:
        return self.first or self.project_id is not None or self.project_name is not None


class Issued(msgspec.Struct, frozen=True):
    """An issued token.

    :ivar text: the token itself, which is returned only once.
    :ivar projects: projects in which the user has a role.
    """

    text: str
    token: Token
    user: User
    project: Project | None
    role: RoleName | None
    projects: Sequence[Project] = ()


class TokenService:
    """Issues, looks up and revokes tokens and sessions."""

    def __init__(
        self,
        database: Database,
        tokens_per_user: int = TOKENS_PER_USER,
        count: Callable[[Outcome], None] = lambda outcome: None,
    ) -> None:
        """`count` is called with the outcome of each sign-in."""
        self._database = database
        self._tokens_per_user = tokens_per_user
        self._count = count
        self._queue = SignInQueue()
        self._wrong = WrongPasswords()
        self._audit = SignInAudit(database)
        self._lines = LineLimit()
        for name, source in self._audit.known():
            self._wrong.succeeded(network(source), name)
        self._hash_of_unknown_user = _hash_of_no_password()

    async def sign_in(
        self, name: str, password: str, scope: Scope, origin: Origin, kind: TokenKind = "token"
    ) -> Issued:
        """Issue a token. Waiting requests use no thread.

        Raises ApiError DCS.1001 if name or password is wrong, or the user has no role in the project (DCS.1004 for a
        session); DCS.4962 after too many wrong passwords, or if too many requests wait."""
        try:
            issued = await self._sign_in(name, password, scope, origin, kind)
        except ApiError as refusal:
            limited = refusal.code == errors.TOO_MANY_REQUESTS
            self._count("limited" if limited else "failed")
            self._write_line("too many sign-ins" if limited else "wrong name, password or scope", name, origin)
            if not limited:
                await self._audit.failed(name, origin, refusal)
            raise
        self._count("success")
        return issued

    async def _sign_in(self, name: str, password: str, scope: Scope, origin: Origin, kind: TokenKind) -> Issued:
        address = network(origin.source)
        self._wrong.require_allowed(address, name)
        async with self._queue.turn(Lane(address, self._wrong.is_known(address, name))):
            self._wrong.require_allowed(address, name)  # other tries may have failed in the meantime
            user = await asyncio.to_thread(self._verified, name, password)
            if user is None or not scope.of_account:
                self._wrong.failed(address, name)
                raise ApiError(errors.INVALID_CREDENTIALS)
            self._wrong.succeeded(address, name)
            return await asyncio.to_thread(self._issue, user, scope, origin, kind)

    def _verified(self, name: str, password: str) -> User | None:
        with self._database.read() as connection:
            user = users.named(connection, name)
        try:
            HASHER.verify(user.password if user and user.password else self._hash_of_unknown_user, password)
        except VerificationError:
            return None
        return user if user and user.enabled else None

    def _issue(self, user: User, scope: Scope, origin: Origin, kind: TokenKind) -> Issued:
        with self._database.write() as connection:
            project = _project(connection, scope, user.id)
            role = users.role(connection, user.id, project.id) if project else None
            # The user may have changed during the check of the password, which takes a while.
            if users.get(connection, user.id) != user:
                raise ApiError(errors.INVALID_CREDENTIALS)
            if scope.names_project and role is None:
                raise ApiError(errors.OTHER_PROJECT if kind == "session" else errors.INVALID_CREDENTIALS)
            text, now = secrets.token_urlsafe(32), now_ms()
            token = Token(
                digest=digest(text),
                user_id=user.id,
                project_id=project.id if project else None,
                issued_at=now,
                expires_at=now + LIFETIME_MS,
                kind=kind,
            )
            tokens.remove_oldest(connection, user.id, kind, keep=self._tokens_per_user - 1)
            tokens.add(connection, token)
            self._audit.succeeded(connection, user, token, origin)
            return Issued(text, token, user, project, role, users.projects_of(connection, user.id))

    def look_up(self, text: str, user_id: str, kind: TokenKind = "token") -> Issued:
        """Return user, project and role of this user's token. Raises ApiError DCS.1001 if it is invalid or expired."""
        with self._database.read() as connection:
            token, user = tokens.get(connection, digest(text)), users.get(connection, user_id)
            if token is None or user is None or not _is_valid(token, user_id, kind):
                raise ApiError(errors.INVALID_CREDENTIALS)
            projects = users.projects_of(connection, user_id)
            if token.project_id is None:
                return Issued(text, token, user, None, None, projects)
            role = users.role(connection, user_id, token.project_id)
            return Issued(text, token, user, users.project(connection, token.project_id), role, projects)

    async def exchange(self, text: str, user_id: str, scope: Scope, origin: Origin) -> Issued:
        """Replace a session of this user by one for the project of `scope`, with the same expiry. Raises ApiError
        DCS.1001 if the session is invalid, DCS.1004 if the user has no role in the project."""
        return await asyncio.to_thread(self._exchange, text, user_id, scope, origin)

    def _exchange(self, text: str, user_id: str, scope: Scope, origin: Origin) -> Issued:
        with self._database.write() as connection:
            old, user = tokens.get(connection, digest(text)), users.get(connection, user_id)
            if old is None or user is None or not _is_valid(old, user_id, "session"):
                raise ApiError(errors.INVALID_CREDENTIALS)
            project = _project(connection, scope, user_id)
            role = users.role(connection, user_id, project.id) if project else None
            if project is None or role is None:
                raise ApiError(errors.OTHER_PROJECT)
            issued = secrets.token_urlsafe(32)
            new = msgspec.structs.replace(old, digest=digest(issued), project_id=project.id, issued_at=now_ms())
            tokens.remove(connection, old.digest)
            tokens.add(connection, new)
            self._audit.succeeded(connection, user, new, origin)
            return Issued(issued, new, user, project, role, users.projects_of(connection, user_id))

    def revoke(self, text: str, user_id: str, kind: TokenKind = "token") -> None:
        """Revoke a token of this user. Raises ApiError DCS.1001 if it is invalid."""
        with self._database.write() as connection:
            token = tokens.get(connection, digest(text))
            if token is None or token.user_id != user_id or token.kind != kind:
                raise ApiError(errors.INVALID_CREDENTIALS)
            tokens.remove(connection, token.digest)

    def _write_line(self, why: str, name: str, origin: Origin) -> None:
        """Log a failed sign-in. The name is escaped, because attackers choose it."""
        if (note := self._lines.note(network(origin.source))) is not None:
            log.warning("sign-in refused: %s; user %a from %s%s", why, name[:_SHOWN_NAME], origin.source, note)


def digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _is_valid(token: Token, user_id: str, kind: TokenKind) -> bool:
    return token.user_id == user_id and token.kind == kind and token.expires_at > now_ms()


def _project(connection: sa.Connection, scope: Scope, user_id: str) -> Project | None:
    if scope.first:
        return next(iter(users.projects_of(connection, user_id)), None)
    if scope.project_id is not None:
        return users.project(connection, scope.project_id)
    return users.project_named(connection, scope.project_name) if scope.project_name is not None else None


def _hash_of_no_password() -> str:
    """Make a hash that no password has, in the encoding of the hasher. It is verified for unknown names, so that
    refusing them takes as long as refusing a wrong password."""
    effort = f"m={HASHER.memory_cost},t={HASHER.time_cost},p={HASHER.parallelism}"
    salt, digest = (
        base64.b64encode(secrets.token_bytes(length)).decode().rstrip("=")
        for length in (HASHER.salt_len, HASHER.hash_len)
    )
    return f"$argon2id$v={ARGON2_VERSION}${effort}${salt}${digest}"
