"""Queries on tokens."""

import sqlalchemy as sa

from cachewright.store.records import Token
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


def forget(connection: sa.Connection, expired_before: int) -> None:
    connection.execute(tokens.delete().where(tokens.c.expires_at < expired_before))
