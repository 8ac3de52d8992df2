"""Validate configurations of migrations from outside, and convert them to service requests."""

from cachewright.api import requests
from cachewright.api.requests import refused
from cachewright.api.schemas.online_migration_bodies import ConfigBody, MigrationBody, SourceBody
from cachewright.api.texts import require_line
from cachewright.services.online_migrations import MigrationConfig
from cachewright.valkey.sources.source import SourceUnusable, split_address

_MOST_ADDRESSES = 32
_MOST_MEGABYTES = 10240


def migration_config(body: MigrationBody | ConfigBody) -> MigrationConfig:
    """Return the configuration. Raises ApiError DCS.4062 with the invalid field, or DCS.4061 for the id of the
    instance. Whether the source can be used is checked by the task."""
    source = body.source_instance
    if not body.target_instance.id:
        raise refused("target_instance.id", "it is missing")
    require_line("source_instance.password", source.password)
    return MigrationConfig(
        method=body.migration_method,
        target_id=requests.instance_id(body.target_instance.id),
        source_addresses=_addresses(source),
        source_user=_text("username", source.username),
        source_password=source.password,
        source_name=_text("sentinel_name", source.sentinel_name),
        resume_mode=body.resume_mode,
        bandwidth_limit_mb=_limit(body.bandwidth_limit_mb),
    )


def _addresses(source: SourceBody) -> str:
    if source.id:
        raise refused("source_instance.id", "instances of this server cannot be the source; name addrs")
    parts = [part.strip() for part in source.addrs.split(",") if part.strip()]
    if not 0 < len(parts) <= _MOST_ADDRESSES:
        raise refused("source_instance.addrs", f"it needs 1 to {_MOST_ADDRESSES} addresses, HOST:PORT")
    for part in parts:
        require_line("source_instance.addrs", part)
        try:
            split_address(part)
        except SourceUnusable as unusable:
            raise refused("source_instance.addrs", unusable.message) from unusable
    return ",".join(parts)


def _text(name: str, text: str) -> str | None:
    require_line(f"source_instance.{name}", text)
    return text or None


def _limit(text: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and 0 < int(text) <= _MOST_MEGABYTES):
        raise refused("bandwidth_limit_mb", f"it is not a whole number from 1 to {_MOST_MEGABYTES}")
    return int(text)
