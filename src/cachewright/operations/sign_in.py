"""Tokens for passwords: issued, looked up, revoked.

A token is 256 random bits; the database keeps its SHA-256, so that it gives no token away.
"""

import asyncio
import hashlib
import secrets

import msgspec
import sqlalchemy as sa
from argon2.exceptions import VerificationError
from limits import RateLimitItem, RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from cachewright.errors import Refusal
from cachewright.operations.identity import HASHER
from cachewright.store import tokens, users
from cachewright.store.database import Database
from cachewright.store.records import Project, RoleName, Token, User
from cachewright.tasks.clock import now_ms

LIFETIME_MS = 24 * 3600 * 1000
_TRIES: RateLimitItem = RateLimitItemPerMinute(10)
_RETRY_SECONDS = 60
_MOST_WAITING = 20


class Scope(msgspec.Struct, frozen=True):
    """The project that a token is wanted for, by id or by name."""

    project_id: str | None = None
    project_name: str | None = None


class Issued(msgspec.Struct, frozen=True):
    """:ivar text: the token itself; told once."""

    text: str
    token: Token
    user: User
    project: Project | None
    role: RoleName | None


class SignInDesk:
    """Where users get tokens and hand them back."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._hashing = asyncio.Semaphore(1)  # each takes 64 MB and a core for a while, on purpose
        self._waiting = 0
        # Checked where there is no such user, so that an unknown name takes as long to refuse as a wrong password.
        self._nobodys = HASHER.hash(secrets.token_urlsafe(30))
        self._failures = SlidingWindowCounterRateLimiter(MemoryStorage())

    async def sign_in(self, name: str, password: str, scope: Scope, source: str) -> Issued:
        """Refusal DCS.1001 where name or password is wrong or the user may not work in that project; DCS.4962 after too
        many wrong passwords from one `source`, or where too many wait. Those who wait hold no thread: others need
        them."""
        if self._waiting >= _MOST_WAITING:
            raise Refusal("DCS.4962", retry_after=1)
        self._waiting += 1
        try:
            async with self._hashing:
                return await asyncio.to_thread(self._signed_in, name, password, scope, source)
        finally:
            self._waiting -= 1

    def _signed_in(self, name: str, password: str, scope: Scope, source: str) -> Issued:
        if not self._failures.test(_TRIES, source, name):
            raise Refusal("DCS.4962", retry_after=_RETRY_SECONDS)
        user = self._known(name, password)
        if user is None:
            self._failures.hit(_TRIES, source, name)
            raise Refusal("DCS.1001")
        with self._database.write() as connection:
            project = _project(connection, scope)
            role = users.role(connection, user.id, project.id) if project else None
            # What was checked may have been changed since: it took a while.
            if users.get(connection, user.id) != user or (scope != Scope() and role is None):
                raise Refusal("DCS.1001")
            text, now = secrets.token_urlsafe(32), now_ms()
            token = Token(
                digest=digest(text),
                user_id=user.id,
                project_id=project.id if project else None,
                issued_at=now,
                expires_at=now + LIFETIME_MS,
            )
            tokens.add(connection, token)
        return Issued(text, token, user, project, role)

    def look_up(self, text: str, user_id: str) -> Issued:
        """What a token of this user is good for. Refusal DCS.1001 where it is none, or is good no longer."""
        with self._database.read() as connection:
            token, user = tokens.get(connection, digest(text)), users.get(connection, user_id)
            if token is None or user is None or token.user_id != user_id or token.expires_at <= now_ms():
                raise Refusal("DCS.1001")
            if token.project_id is None:
                return Issued(text, token, user, None, None)
            role = users.role(connection, user_id, token.project_id)
            return Issued(text, token, user, users.project(connection, token.project_id), role)

    async def exchange(self, text: str, user_id: str, scope: Scope) -> Issued:
        """Another token of this user, for the project of `scope`, until the first one would have ended; that one is
        taken back. Refusal DCS.1001 where it is none, DCS.1004 where the user may not work there."""
        return await asyncio.to_thread(self._exchanged, text, user_id, scope)

    def _exchanged(self, text: str, user_id: str, scope: Scope) -> Issued:
        with self._database.write() as connection:
            old, user = tokens.get(connection, digest(text)), users.get(connection, user_id)
            if old is None or user is None or old.user_id != user_id or old.expires_at <= now_ms():
                raise Refusal("DCS.1001")
            project = _project(connection, scope)
            role = users.role(connection, user_id, project.id) if project else None
            if project is None or role is None:
                raise Refusal("DCS.1004")
            issued = secrets.token_urlsafe(32)
            new = msgspec.structs.replace(old, digest=digest(issued), project_id=project.id, issued_at=now_ms())
            tokens.remove(connection, old.digest)
            tokens.add(connection, new)
        return Issued(issued, new, user, project, role)

    def revoke(self, text: str, user_id: str) -> None:
        """Takes back a token of this user. Refusal DCS.1001 where it is none."""
        with self._database.write() as connection:
            token = tokens.get(connection, digest(text))
            if token is None or token.user_id != user_id:
                raise Refusal("DCS.1001")
            tokens.remove(connection, token.digest)

    def _known(self, name: str, password: str) -> User | None:
        with self._database.read() as connection:
            user = users.named(connection, name)
        try:
            HASHER.verify(user.password if user and user.password else self._nobodys, password)
        except VerificationError:
            return None
        return user if user and user.enabled else None


def digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _project(connection: sa.Connection, scope: Scope) -> Project | None:
    if scope.project_id is not None:
        return users.project(connection, scope.project_id)
    return users.project_named(connection, scope.project_name) if scope.project_name is not None else None
