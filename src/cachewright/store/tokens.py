"""Queries on tokens."""

import sqlalchemy as sa

from cachewright.model.identity import Token, TokenKind
from cachewright.store.rows import from_row, to_row
from cachewright.store.tables import tokens


def add(connection: sa.Connection, token: Token) -> None:
    connection.execute(tokens.insert().values(to_row(token)))


def get(connection: sa.Connection, digest: str) -> Token | None:
    row = connection.execute(tokens.select().where(tokens.c.digest == digest)).one_or_none()
    return from_row(Token, row._mapping) if row else None


def remove(connection: sa.Connection, digest: str) -> None:
    connection.execute(tokens.delete().where(tokens.c.digest == digest))


def remove_of(connection: sa.Connection, user_id: str) -> None:
    connection.execute(tokens.delete().where(tokens.c.user_id == user_id))


def remove_oldest(connection: sa.Connection, user_id: str, kind: TokenKind, *, keep: int) -> None:
    """Delete the user's tokens of this kind, except for the newest `keep`."""
    own = sa.select(tokens.c.digest).where(tokens.c.user_id == user_id, tokens.c.kind == kind)
    newest = own.order_by(tokens.c.issued_at.desc()).limit(keep)
    connection.execute(tokens.delete().where(tokens.c.digest.in_(own), tokens.c.digest.not_in(newest)))


def forget(connection: sa.Connection, expired_before: int) -> None:
    connection.execute(tokens.delete().where(tokens.c.expires_at < expired_before))
