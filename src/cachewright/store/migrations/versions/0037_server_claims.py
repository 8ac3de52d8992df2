"""The claim of the server that performs tasks, and messages about changes of tasks to the other servers."""

import sqlalchemy as sa
from alembic import op

revision = "0037"
down_revision = "0036"

_CHANGED = """
CREATE FUNCTION cachewright_task_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('cachewright_changes', NEW.id || ' ' || NEW.instance_id);
    RETURN NULL;
END
$$
"""
_AFTER_CHANGE = """
CREATE TRIGGER task_changed AFTER INSERT OR UPDATE ON tasks
FOR EACH ROW EXECUTE FUNCTION cachewright_task_changed()
"""


def upgrade() -> None:
    claims = op.create_table(
        "server_claims",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("server_id", sa.Text(), nullable=False),
        sa.Column("session", sa.Text(), nullable=False),
        sa.Column("machine", sa.Text(), nullable=False),
        sa.Column("renewals", sa.BigInteger(), nullable=False),
        sa.Column("is_released", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_server_claims"),
    )
    first = {"name": "server", "epoch": 0, "server_id": "", "session": "", "machine": "", "renewals": 0}
    op.bulk_insert(claims, [first | {"is_released": True}])
    if op.get_bind().dialect.name == "postgresql":
        op.execute(_CHANGED)
        op.execute(_AFTER_CHANGE)
