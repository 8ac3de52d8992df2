"""Create, change and remove users, projects and keys, in the caller's write transaction.

Errors are `InvalidInput` with a message for people, because only the command line of the machine's owner gets here.
"""

import re
import secrets
import string
import uuid

import msgspec
import sqlalchemy as sa
from argon2 import PasswordHasher

from cachewright.clock import now_ms
from cachewright.errors import CachewrightError
from cachewright.model.identity import AccessKey, Project, RoleName, User
from cachewright.store import keys, tokens, users

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}")
_PASSWORD_LENGTHS = range(8, 129)
_KEY_ALPHABET = string.ascii_uppercase + string.digits
_KEY_LENGTH = 20

HASHER = PasswordHasher()


class InvalidInput(CachewrightError):
    """A name, password or role is invalid or does not exist."""


class Credentials(msgspec.Struct, frozen=True):
    """A key and the first project of its user. The project is None if the user has no role in any project."""

    key: AccessKey
    project: Project | None


def first_credentials(connection: sa.Connection) -> Credentials | None:
    """Return the oldest enabled key of an enabled user. If no user exists, create an admin of a project `local`.

    Return None if every key was disabled or removed.
    """
    if not users.every(connection):
        add_project(connection, "local")
        add_user(connection, "admin", None)
        grant(connection, "admin", "local", "admin")
        add_key(connection, "admin")
    enabled_users = {user.id for user in users.every(connection) if user.enabled}
    usable_keys = [key for key in keys.every(connection) if key.enabled and key.user_id in enabled_users]
    return _with_project(connection, usable_keys[0]) if usable_keys else None


def add_project(connection: sa.Connection, name: str) -> Project:
    _require_name(name)
    if users.project_named(connection, name):
        raise InvalidInput(f"there is a project {name!r} already")
    project = Project(id=uuid.uuid4().hex, name=name, created_at=now_ms())
    users.add_project(connection, project)
    return project


def add_user(connection: sa.Connection, name: str, password: str | None) -> User:
    """Create a user. A user without a password can only sign with keys."""
    _require_name(name)
    if users.named(connection, name):
        raise InvalidInput(f"there is a user {name!r} already")
    hashed = None if password is None else _password_hash(password)
    user = User(id=uuid.uuid4().hex, name=name, password=hashed, enabled=True, created_at=now_ms())
    users.add(connection, user)
    return user


def set_password(connection: sa.Connection, name: str, password: str) -> None:
    """Set the password and revoke all tokens of the user."""
    user = _user(connection, name)
    users.set_password(connection, user.id, _password_hash(password))
    tokens.remove_of(connection, user.id)


def enable_user(connection: sa.Connection, name: str, enabled: bool) -> None:
    """Enable or disable a user. Keys of a disabled user are refused; the tokens are deleted in both cases."""
    user = _user(connection, name)
    users.enable(connection, user.id, enabled)
    tokens.remove_of(connection, user.id)


def remove_user(connection: sa.Connection, name: str) -> None:
    users.remove(connection, _user(connection, name).id)


def grant(connection: sa.Connection, user_name: str, project_name: str, role: RoleName | None) -> None:
    """Set the user's only role in the project; None removes it."""
    user, project = _user(connection, user_name), users.project_named(connection, project_name)
    if project is None:
        raise InvalidInput(f"there is no project {project_name!r}")
    users.grant(connection, user.id, project.id, role)


def add_key(connection: sa.Connection, user_name: str) -> Credentials:
    key = AccessKey(
        access_key="".join(secrets.choice(_KEY_ALPHABET) for _ in range(_KEY_LENGTH)),
        secret_key=secrets.token_urlsafe(30),
        user_id=_user(connection, user_name).id,
        enabled=True,
        created_at=now_ms(),
    )
    keys.add(connection, key)
    return _with_project(connection, key)


def enable_key(connection: sa.Connection, access_key: str, enabled: bool) -> None:
    if not keys.enable(connection, access_key, enabled):
        raise _no_key(access_key)


def remove_key(connection: sa.Connection, access_key: str) -> None:
    if not keys.remove(connection, access_key):
        raise _no_key(access_key)


def rotate_key(connection: sa.Connection, access_key: str) -> Credentials:
    """Create another key of the same user and disable the old one, which can be enabled again during the change."""
    old = keys.get(connection, access_key)
    user = users.get(connection, old.user_id) if old else None
    if user is None:
        raise _no_key(access_key)
    new = add_key(connection, user.name)
    keys.enable(connection, access_key, False)
    return new


def _with_project(connection: sa.Connection, key: AccessKey) -> Credentials:
    projects = users.projects_of(connection, key.user_id)
    return Credentials(key, projects[0] if projects else None)


def _user(connection: sa.Connection, name: str) -> User:
    user = users.named(connection, name)
    if user is None:
        raise InvalidInput(f"there is no user {name!r}")
    return user


def _no_key(access_key: str) -> InvalidInput:
    return InvalidInput(f"there is no key {access_key!r}")


def _require_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise InvalidInput(f"invalid name {name!r}: 1 to 64 letters, digits and _ . @ -, a letter or digit first")


def _password_hash(password: str) -> str:
    if len(password) not in _PASSWORD_LENGTHS:
        raise InvalidInput(f"a password has {_PASSWORD_LENGTHS.start} to {_PASSWORD_LENGTHS.stop - 1} characters")
    return HASHER.hash(password)
