"""What servers share without agents: the lock of writes and a channel of messages. Addresses of hosts are unique."""

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0039"
down_revision = "0038"

_CHANGED = """
CREATE OR REPLACE FUNCTION cachewright_task_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify(
        'cachewright_changes_' || (SELECT channel FROM server_coordination), NEW.id || ' ' || NEW.instance_id);
    RETURN NULL;
END
$$
"""
_ADDRESS = """
CREATE FUNCTION cachewright_host_address() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    other text;
BEGIN
    SELECT h.name INTO other FROM {schema}.hosts AS h WHERE h.address = NEW.address AND h.name <> NEW.name LIMIT 1;
    IF other IS NOT NULL THEN
        RAISE unique_violation USING
            MESSAGE = format('host %s has the address %s; each host needs its own', other, NEW.address);
    END IF;
    RETURN NEW;
END
$$
"""
_NOBODY_ELSE = "REVOKE ALL ON FUNCTION cachewright_host_address() FROM PUBLIC"
"""Otherwise an agent could attach the function to a table of its own, whose types run the agent's code in it."""

_BEFORE_CHANGE = """
CREATE TRIGGER host_address BEFORE UPDATE OF address ON hosts
FOR EACH ROW WHEN (NEW.name <> 'local' AND NEW.address <> '' AND NEW.address <> OLD.address)
EXECUTE FUNCTION cachewright_host_address()
"""


def upgrade() -> None:
    coordination = op.create_table(
        "server_coordination",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_server_coordination"),
    )
    op.bulk_insert(coordination, [{"name": "server", "channel": secrets.token_hex(16)}])
    connection = op.get_bind()
    if connection.dialect.name == "postgresql":
        schema = connection.execute(sa.text("SELECT quote_ident(current_schema())")).scalar_one()
        op.execute(_CHANGED)
        op.execute(_ADDRESS.format(schema=schema))
        op.execute(_NOBODY_ELSE)
        op.execute(_BEFORE_CHANGE)
