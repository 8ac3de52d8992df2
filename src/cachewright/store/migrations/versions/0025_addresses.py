"""The address of an instance, which was the same for all."""

from alembic import op

revision = "0025"
down_revision = "0024"


def upgrade() -> None:
    op.execute("ALTER TABLE instances ADD COLUMN address TEXT NOT NULL DEFAULT '127.0.0.1'")
    op.execute(
        "UPDATE instances SET address = "
        "coalesce((SELECT min(host) FROM nodes WHERE nodes.instance_id = instances.id), address)"
    )
