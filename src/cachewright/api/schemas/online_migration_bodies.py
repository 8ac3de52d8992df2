"""Shapes of requests for migrations from outside. Types follow the SDK's models; further members are extensions."""

from typing import Annotated, Literal

import msgspec

from cachewright.api.schemas.paging import Limit, Offset
from cachewright.model.online_migrations import LogLevel, Method, ResumeMode

_Text = Annotated[str, msgspec.Meta(max_length=1024)]
_Password = Annotated[str, msgspec.Meta(min_length=1, max_length=512)]
_Ids = Annotated[list[str], msgspec.Meta(min_length=1, max_length=50)]

MigrationName = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z][A-Za-z0-9_-]{1,63}\Z")]


class SourceBody(msgspec.Struct, frozen=True, kw_only=True):
    """Where the data comes from.

    :ivar addrs: `HOST:PORT` of a server or of some of its cluster, or of its sentinels, separated by commas.
    :ivar username: user of its access control list; an extension.
    :ivar sentinel_name: name of the primary at the sentinels, if they watch several; an extension.
    """

    id: _Text = ""
    addrs: _Text = ""
    password: _Password | None = None
    username: _Text = ""
    sentinel_name: _Text = ""


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
