"""Migrations from outside: copies of the data of another server into an instance."""

from typing import Any, Literal

import msgspec

Method = Literal["full_amount_migration", "incremental_migration"]
"""`full_amount_migration` copies the data once, `incremental_migration` follows the changes until the cut-over."""

SourceTls = Literal["host", "chain"]
"""What a source with TLS has to prove: that its certificate is signed by an authority (`chain`), and that it is also
that of the host (`host`)."""

ResumeMode = Literal["auto", "manual"]
"""Whether a migration waits for a source that does not answer (`auto`), or fails."""

HAS_COPIED = "has_copied"
"""Attribute of a migration that has copied keys into its instance."""

COPIED_LIBRARIES = "copied_libraries"
"""Attribute with the names of the function libraries that were copied, to find those that the source has deleted."""

GATEWAY_HOST = "gateway_host"
"""Attribute with the name of the host on which the gateways of the present task run."""

LogLevel = Literal["info", "warning", "error"]


class OnlineMigration(msgspec.Struct, frozen=True, kw_only=True):
    """A migration, configured or not.

    :ivar method: None until it is configured.
    :ivar source_addresses: `HOST:PORT`, separated by commas.
    :ivar source_password: never returned by the API.
    :ivar source_name: name of the primary at the sentinels of the source.
    :ivar source_tls: how the certificate of the source is verified; None for no TLS.
    :ivar source_ca: certificates of its authorities, PEM; None for those that the system knows.
    :ivar source_certificate: certificate by which the source recognizes this server, with those of its authorities,
        :ivar source_key: its private key, PEM. Both are never returned.
    :ivar source_files: URLs of files to import, one a line; they may contain signatures, so they are never returned.
    :ivar source_backup: id of a backup of the project to import.
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
    source_tls: SourceTls | None = None
    source_ca: str | None = None
    source_certificate: str | None = None
    source_key: str | None = None
    source_files: str | None = None
    source_backup: str | None = None
    target_id: str | None = None
    task_id: str | None = None
    target_was_empty: bool | None = None
    cut_over_at: int | None = None
    attributes: dict[str, Any] = {}

    @property
    def is_import(self) -> bool:
        """Whether it imports files, and does not ask a server."""
        return self.source_files is not None or self.source_backup is not None


class MigrationEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of the log of a migration."""

    migration_id: str
    created_at: int
    level: LogLevel
    message: str
