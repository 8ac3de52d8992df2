"""Users with roles in projects, tokens, and the audit log. Secrets in clear are encrypted."""

import sqlalchemy as sa
from alembic import context, op

from cachewright.store.encryption import SecretCipher

revision = "0003"
down_revision = "0002"

_FIRST_PROJECT = "local"


def upgrade() -> None:
    op.create_table(
        "projects",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_projects")),
        sa.UniqueConstraint("name", name=op.f("uq_projects_name")),
    )
    op.create_table(
        "users",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("password", sa.Text(), nullable=True),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
        sa.UniqueConstraint("name", name=op.f("uq_users_name")),
    )
    op.create_table(
        "grants",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("user_id", "project_id", name=op.f("pk_grants")),
    )
    op.create_table(
        "tokens",
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("project_id", sa.Text(), nullable=True),
        sa.Column("issued_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_tokens")),
    )
    op.create_index(op.f("ix_tokens_user_id"), "tokens", ["user_id"])
    op.create_index(op.f("ix_tokens_expires_at"), "tokens", ["expires_at"])
    op.create_table(
        "audit",
        sa.Column("sequence", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("project_id", sa.Text(), nullable=True),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("user_name", sa.Text(), nullable=False),
        sa.Column("credential", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_audit")),
    )
    op.create_index(op.f("ix_audit_at"), "audit", ["at"])
    op.create_index(op.f("ix_audit_project_id_at_sequence"), "audit", ["project_id", "at", "sequence"])
    _take_over_owners()
    _seal()
    op.create_index(op.f("ix_access_keys_user_id"), "access_keys", ["user_id"])
    with op.batch_alter_table("access_keys") as changed:
        changed.drop_column("project_id")
        changed.drop_column("user_name")


def _take_over_owners() -> None:
    """Keep the owner of the only key. The previous release created one key, of one user in one project."""
    op.execute(
        "INSERT INTO users SELECT user_id, min(user_name), NULL, true, min(created_at) FROM access_keys "
        "GROUP BY user_id"
    )
    op.execute(
        f"INSERT INTO projects SELECT project_id, '{_FIRST_PROJECT}', min(created_at) FROM access_keys "  # noqa: S608  # a constant
        "GROUP BY project_id"
    )
    op.execute("INSERT INTO grants SELECT DISTINCT user_id, project_id, 'admin' FROM access_keys")


def _seal() -> None:
    cipher: SecretCipher = context.config.attributes["cipher"]
    connection = op.get_bind()
    for table, key, secret in (("access_keys", "access_key", "secret_key"), ("instances", "id", "password")):
        rows = sa.table(table, sa.column(key), sa.column(secret))
        found = connection.execute(sa.select(rows.c[key], rows.c[secret]).where(rows.c[secret].is_not(None))).all()
        for name, text in found:
            connection.execute(rows.update().where(rows.c[key] == name).values({secret: cipher.encrypt(text)}))
