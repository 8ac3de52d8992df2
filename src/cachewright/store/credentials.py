"""Find the owner of a credential and the owner's role in a project by one query. Every request needs it."""

from typing import Any

import msgspec
import sqlalchemy as sa

from cachewright.model.identity import RoleName, TokenKind
from cachewright.store.tables import access_keys, grants, tokens, users


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """Owner of a credential.

    :ivar enabled: whether the user is enabled, and for an access key the key too.
    :ivar role: None if the user has no role in the project.
    """

    user_id: str
    user_name: str
    enabled: bool
    role: RoleName | None


class KeyOwner(Owner, frozen=True, kw_only=True):
    """Owner of an access key.

    :ivar sealed_secret: the encrypted secret key. Owners are cached, so each request decrypts it.
    """

    sealed_secret: str


class TokenOwner(Owner, frozen=True, kw_only=True):
    """Owner of a token.

    :ivar project_id: the only project that the token is valid for; None if it is unscoped.
    """

    project_id: str | None
    expires_at: int
    kind: TokenKind


def of_key(connection: sa.Connection, access_key: str, project_id: str | None) -> KeyOwner | None:
    query = _owners(access_keys, project_id, access_keys.c.secret_key, access_keys.c.enabled.label("key_enabled"))
    row = connection.execute(query.where(access_keys.c.access_key == access_key)).one_or_none()
    if row is None:
        return None
    return KeyOwner(
        user_id=row.id,
        user_name=row.name,
        enabled=row.enabled and row.key_enabled,
        role=row.role,
        sealed_secret=row.secret_key,
    )


def of_token(connection: sa.Connection, digest: str, project_id: str | None) -> TokenOwner | None:
    query = _owners(tokens, project_id, tokens.c.project_id, tokens.c.expires_at, tokens.c.kind)
    row = connection.execute(query.where(tokens.c.digest == digest)).one_or_none()
    if row is None:
        return None
    return TokenOwner(
        user_id=row.id,
        user_name=row.name,
        enabled=row.enabled,
        role=row.role,
        project_id=row.project_id,
        expires_at=row.expires_at,
        kind=row.kind,
    )


def _owners(table: sa.Table, project_id: str | None, *also: sa.ColumnElement[Any]) -> sa.Select[Any]:
    role_here = sa.and_(grants.c.user_id == users.c.id, grants.c.project_id == project_id)
    joined = table.join(users, users.c.id == table.c.user_id).outerjoin(grants, role_here)
    return sa.select(users.c.id, users.c.name, users.c.enabled, grants.c.role, *also).select_from(joined)
