"""A separate user of the control plane on every node, and parameters of instances."""

import secrets

import sqlalchemy as sa
from alembic import context, op

from cachewright.store.encryption import SecretCipher

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column("instances", sa.Column("control_secret", sa.Text()))
    op.add_column("instances", sa.Column("parameters", sa.Text(), nullable=False, server_default="{}"))
    op.add_column("nodes", sa.Column("access", sa.Text(), nullable=False, server_default="password"))
    cipher: SecretCipher = context.config.attributes["cipher"]
    connection = op.get_bind()
    rows = sa.table("instances", sa.column("id"), sa.column("control_secret"))
    for instance_id in connection.execute(sa.select(rows.c.id)).scalars().all():
        sealed = cipher.encrypt(secrets.token_urlsafe(32))
        connection.execute(rows.update().where(rows.c.id == instance_id).values(control_secret=sealed))
    with op.batch_alter_table("instances") as changed:
        changed.alter_column("control_secret", existing_type=sa.Text(), nullable=False)
