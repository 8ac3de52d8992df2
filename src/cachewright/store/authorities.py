"""The certificate authorities of the installation. They are stored encrypted."""

from typing import Literal

import sqlalchemy as sa

from cachewright.store.database import secret_cipher
from cachewright.store.tables import certificate_authorities

Purpose = Literal["clients", "sentinels"]
"""Clients, and sentinels, verify instances by the first one. Nodes verify sentinels by the second one."""


def find(connection: sa.Connection, purpose: Purpose) -> str | None:
    """Return private key and certificate of an authority, PEM; None before the first instance that needs it."""
    secret = sa.select(certificate_authorities.c.secret).where(certificate_authorities.c.id == purpose)
    found = connection.execute(secret).scalar_one_or_none()
    return None if found is None else secret_cipher(connection).decrypt(found)


def add(connection: sa.Connection, purpose: Purpose, authority: str) -> None:
    encrypted = secret_cipher(connection).encrypt(authority)
    connection.execute(certificate_authorities.insert().values(id=purpose, secret=encrypted))
