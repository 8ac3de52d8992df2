"""Queries on analyses of keys. Found keys are stored encrypted, because their names are data of the owner."""

from collections.abc import Collection
from typing import Any

import msgspec
import sqlalchemy as sa

from cachewright.model.key_analyses import MOST_KEPT, FoundKey, KeyAnalysis, Subject, chosen
from cachewright.store.database import secret_cipher
from cachewright.store.rows import from_row
from cachewright.store.tables import key_analyses

_FOUND = tuple[FoundKey, ...]
_NEWEST = (key_analyses.c.created_at.desc(), key_analyses.c.id.desc())


def add(connection: sa.Connection, analysis: KeyAnalysis) -> None:
    """Store an analysis that begins, also one that is repeated. The instance keeps only so many of a subject."""
    remove(connection, [analysis.id])
    row = msgspec.structs.asdict(analysis) | {"found": _sealed(connection, analysis.found)}
    connection.execute(key_analyses.insert().values(row))
    others = (*_same(analysis.instance_id, analysis.subject), key_analyses.c.id != analysis.id)
    kept = sa.select(key_analyses.c.id).where(*others).order_by(*_NEWEST).limit(MOST_KEPT - 1)
    connection.execute(key_analyses.delete().where(*others, key_analyses.c.id.not_in(kept.scalar_subquery())))


def of_instance(connection: sa.Connection, instance_id: str, subject: Subject) -> list[KeyAnalysis]:
    """Return the analyses of an instance, newest first, without the keys."""
    columns = [column for column in key_analyses.c if column.name != "found"]
    query = sa.select(*columns).where(*_same(instance_id, subject)).order_by(*_NEWEST)
    return [from_row(KeyAnalysis, row._mapping) for row in connection.execute(query)]


def find(connection: sa.Connection, instance_id: str, subject: Subject, analysis_id: str) -> KeyAnalysis | None:
    query = key_analyses.select().where(*_same(instance_id, subject), key_analyses.c.id == analysis_id)
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    return from_row(KeyAnalysis, {**row._mapping, "found": _opened(connection, row.found)})


def store_found(connection: sa.Connection, analysis_id: str, address: str, found: _FOUND) -> None:
    """Add what a shard with this address has found, instead of what it had found before."""
    row = connection.execute(key_analyses.select().where(key_analyses.c.id == analysis_id)).one_or_none()
    if row is None:
        return  # it was deleted
    others = [key for key in _opened(connection, row.found) if key.address != address]
    sealed = _sealed(connection, chosen(row.subject, [*others, *found]))
    connection.execute(key_analyses.update().where(key_analyses.c.id == analysis_id).values(found=sealed))


def remove(connection: sa.Connection, analysis_ids: Collection[str]) -> None:
    connection.execute(key_analyses.delete().where(key_analyses.c.id.in_(analysis_ids)))


def remove_of_instance(connection: sa.Connection, instance_id: str) -> None:
    connection.execute(key_analyses.delete().where(key_analyses.c.instance_id == instance_id))


def _same(instance_id: str, subject: Subject) -> tuple[sa.ColumnElement[bool], ...]:
    return key_analyses.c.instance_id == instance_id, key_analyses.c.subject == subject


def _sealed(connection: sa.Connection, keys: _FOUND) -> str:
    return secret_cipher(connection).encrypt(msgspec.json.encode(keys).decode())


def _opened(connection: sa.Connection, sealed: Any) -> _FOUND:
    return msgspec.json.decode(secret_cipher(connection).decrypt_once(sealed), type=_FOUND)
