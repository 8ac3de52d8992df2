"""Accounts of instances, disabled commands, and wrong passwords."""

from alembic import op

revision = "0023"
down_revision = "0022"


def upgrade() -> None:
    op.execute("ALTER TABLE instances ADD COLUMN accounts TEXT")
    op.execute("ALTER TABLE instances ADD COLUMN disabled_commands TEXT NOT NULL DEFAULT '[]'")
    op.execute("ALTER TABLE instances ADD COLUMN pending_password TEXT")
    op.execute(
        "CREATE TABLE password_attempts (owner TEXT NOT NULL, instance_id TEXT NOT NULL, failures INTEGER NOT NULL, "
        "locked_until BIGINT, CONSTRAINT pk_password_attempts PRIMARY KEY (owner))"
    )
    op.execute("CREATE INDEX ix_password_attempts_instance_id ON password_attempts (instance_id)")
