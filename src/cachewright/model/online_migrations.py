"""Migrations from outside: copies of the data of another server into an instance."""

from typing import Any, Literal

import msgspec

Method = Literal["full_amount_migration", "incremental_migration"]
"""`full_amount_migration` copies the data once, `incremental_migration` follows the changes until the cut-over."""

ResumeMode = Literal["auto", "manual"]
"""Whether a migration waits for a source that does not answer (`auto`), or fails."""

HAS_COPIED = "has_copied"
"""Attribute of a migration that has copied keys into its instance."""

LogLevel = Literal["info", "warning", "error"]


class OnlineMigration(msgspec.Struct, frozen=True, kw_only=True):
    """A migration, configured or not.

    :ivar method: None until it is configured.
    :ivar source_addresses: `HOST:PORT`, separated by commas.
    :ivar source_password: never returned by the API.
    :ivar source_name: name of the primary at the sentinels of the source.
    :ivar bandwidth_limit_mb: megabytes per second; None for no limit.
    :ivar task_id: the background task that performs it, or did last.
    :ivar target_was_empty: whether the instance had no keys when the present task began. Only then may keys be deleted
        that the source does not have.
    :ivar cut_over_at: when the owner said that the source gets no more writes.
    :ivar attributes: fields that the API stores and returns unchanged.
    """

    id: str
    project_id: str
    name: str
    description: str
    created_at: int
    updated_at: int
    method: Method | None = None
    resume_mode: ResumeMode = "auto"
    bandwidth_limit_mb: int | None = None
    source_addresses: str = ""
    source_user: str | None = None
    source_password: str | None = None
    source_name: str | None = None
    target_id: str | None = None
    task_id: str | None = None
    target_was_empty: bool | None = None
    cut_over_at: int | None = None
    attributes: dict[str, Any] = {}


class MigrationEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of the log of a migration."""

    migration_id: str
    created_at: int
    level: LogLevel
    message: str
