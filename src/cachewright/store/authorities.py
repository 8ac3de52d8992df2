"""The certificate authority of the installation, by which clients verify instances. It is stored encrypted."""

import sqlalchemy as sa

from cachewright.store.database import secret_cipher
from cachewright.store.tables import certificate_authorities

_CLIENTS = "clients"


def find(connection: sa.Connection) -> str | None:
    """Return private key and certificate of the authority, PEM; None before the first instance with TLS."""
    secret = sa.select(certificate_authorities.c.secret).where(certificate_authorities.c.id == _CLIENTS)
    found = connection.execute(secret).scalar_one_or_none()
    return None if found is None else secret_cipher(connection).decrypt(found)


def add(connection: sa.Connection, authority: str) -> None:
    encrypted = secret_cipher(connection).encrypt(authority)
    connection.execute(certificate_authorities.insert().values(id=_CLIENTS, secret=encrypted))
