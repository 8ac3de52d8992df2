"""Shapes of requests for migrations from outside and imports. Types follow the SDK's models; other members are
extensions."""

from typing import Annotated, Literal

import msgspec

from cachewright.api.schemas import forms
from cachewright.api.schemas.paging import Limit, Offset
from cachewright.model.online_migrations import LogLevel, Method, ResumeMode

_Text = Annotated[str, msgspec.Meta(max_length=1024)]
_Password = Annotated[str, msgspec.Meta(min_length=1, max_length=512)]
_Url = Annotated[str, msgspec.Meta(min_length=1, max_length=4096)]
_Certificates = Annotated[str, msgspec.Meta(max_length=64 * 1024)]
_Ids = Annotated[list[str], msgspec.Meta(min_length=1, max_length=50)]

MigrationName = Annotated[str, msgspec.Meta(pattern=forms.MIGRATION_NAME)]


class SourceBody(msgspec.Struct, frozen=True, kw_only=True):
    """Where the data comes from.

    :ivar addrs: `HOST:PORT` of a server or of some of its cluster, or of its sentinels, separated by commas.
    :ivar username: user of its access control list; an extension.
    :ivar sentinel_name: name of the primary at the sentinels, if they watch several; an extension.
    :ivar ssl_enabled: whether the source is reached by TLS, :ivar ssl_ca: certificates of its authorities, PEM; empty
        for those that the system knows, :ivar ssl_check_hostname: whether its certificate must have the name of the
        host. Extensions.
    :ivar ssl_cert: certificate for a source that asks its clients for one, and those of its authorities, PEM,
        :ivar ssl_key: its private key, PEM. Extensions that are never returned.
    """

    id: _Text = ""
    addrs: _Text = ""
    password: _Password | None = None
    username: _Text = ""
    sentinel_name: _Text = ""
    ssl_enabled: bool = False
    ssl_ca: _Certificates = ""
    ssl_check_hostname: bool = True
    ssl_cert: _Certificates = ""
    ssl_key: _Certificates = ""


class FileBody(msgspec.Struct, frozen=True):
    """A file to import. Its size is read from its server.

    :ivar file_name: name in the bucket, or a whole URL, which may be signed.
    """

    file_name: _Url
    size: _Text = ""
    update_at: _Text = ""


_Files = Annotated[list[FileBody], msgspec.Meta(max_length=128)]


class BackupFilesBody(msgspec.Struct, frozen=True, kw_only=True):
    """Files to import, or a backup of the project.

    :ivar bucket_name: URL of the folder of the files.
    """

    file_source: Literal["self_build_obs", "backup_record"] = "self_build_obs"
    bucket_name: _Text = ""
    files: _Files = []
    backup_id: _Text = ""


class TargetBody(msgspec.Struct, frozen=True, kw_only=True):
    """The instance that gets the data. Its password is not needed."""

    id: _Text = ""
    addrs: _Text = ""
    password: str | None = None


class MigrationBody(msgspec.Struct, frozen=True, kw_only=True):
    """`resume_mode` and `bandwidth_limit_mb` are extensions of this operation."""

    task_name: MigrationName
    description: _Text = ""
    migration_type: Literal["backupfile_import", "online_migration"]
    migration_method: Method
    network_type: Literal["vpc", "vpn"] = "vpc"
    backup_files: BackupFilesBody = BackupFilesBody()
    source_instance: SourceBody = SourceBody()
    target_instance: TargetBody
    resume_mode: ResumeMode = "auto"
    bandwidth_limit_mb: _Text = ""


class OnlineTaskBody(msgspec.Struct, frozen=True, kw_only=True):
    name: MigrationName
    description: _Text = ""
    vpc_id: _Text
    subnet_id: _Text
    security_group_id: _Text


class ConfigBody(msgspec.Struct, frozen=True, kw_only=True):
    migration_method: Method
    resume_mode: ResumeMode
    bandwidth_limit_mb: _Text = ""
    source_instance: SourceBody
    target_instance: TargetBody


class ResumeModeBody(msgspec.Struct, frozen=True):
    resume_mode: ResumeMode


class MigrationIds(msgspec.Struct, frozen=True):
    migration_tasks: _Ids


class DeletedIds(msgspec.Struct, frozen=True):
    task_id_list: _Ids


class MigrationsQuery(msgspec.Struct, frozen=True):
    """`name` is a part of the name."""

    offset: Offset = 0
    limit: Limit = 10
    name: str = ""


class LogsQuery(msgspec.Struct, frozen=True):
    offset: Offset = 0
    limit: Limit = 10
    log_level: LogLevel | None = None
