"""Sources of migrations with TLS, and files as sources."""

import sqlalchemy as sa
from alembic import op

revision = "0036"
down_revision = "0035"


def upgrade() -> None:
    for name in ("source_tls", "source_ca", "source_files", "source_backup"):
        op.add_column("online_migrations", sa.Column(name, sa.Text(), nullable=True))
