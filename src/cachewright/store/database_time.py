"""The time of a PostgreSQL server."""

import sqlalchemy as sa

_SECONDS = sa.select(sa.cast(sa.extract("epoch", sa.func.clock_timestamp()), sa.Float))


def database_seconds(connection: sa.Connection) -> float:
    """Return the present time of the database, in seconds since the epoch. For PostgreSQL."""
    return float(connection.execute(_SECONDS).scalar_one())
