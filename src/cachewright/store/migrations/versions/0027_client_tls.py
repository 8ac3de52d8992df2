"""TLS of clients: the authority of the installation, and the certificate of each instance."""

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"


def upgrade() -> None:
    op.create_table(
        "certificate_authorities",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_certificate_authorities"),
    )
    op.add_column("instances", sa.Column("server_certificate", sa.Text()))
