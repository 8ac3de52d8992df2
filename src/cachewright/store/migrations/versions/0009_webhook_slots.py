"""A slot number within the project for each webhook, and an index for the test events of a webhook."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0007"

_NUMBERED = """
UPDATE webhooks SET slot = (
    SELECT count(*) FROM webhooks AS older
    WHERE older.project_id = webhooks.project_id
    AND (older.created_at < webhooks.created_at OR (older.created_at = webhooks.created_at AND older.id < webhooks.id))
)
"""


def upgrade() -> None:
    op.add_column("webhooks", sa.Column("slot", sa.Integer(), nullable=False, server_default=sa.text("0")))
    op.execute(_NUMBERED)
    op.create_index(op.f("ix_webhooks_project_id_slot"), "webhooks", ["project_id", "slot"], unique=True)
    op.create_index(op.f("ix_deliveries_webhook_id_event_sequence"), "deliveries", ["webhook_id", "event", "sequence"])
