"""The metadata that all tables belong to."""

import sqlalchemy as sa

SEQUENCE = sa.BigInteger().with_variant(sa.Integer, "sqlite")
"""Type of row numbers that the database assigns. SQLite assigns them only to columns of the type INTEGER."""

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)
