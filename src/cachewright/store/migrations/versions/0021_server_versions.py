"""Version of valkey-server of each node."""

from alembic import op

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    op.execute("ALTER TABLE nodes ADD COLUMN server_version TEXT")
