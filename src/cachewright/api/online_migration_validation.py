"""Validate configurations of migrations from outside and imports, and convert them to service requests."""

import ssl
from typing import Any
from urllib.parse import quote

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from cachewright.api import requests
from cachewright.api.requests import refused
from cachewright.api.schemas.online_migration_bodies import (
    BackupFilesBody,
    ConfigBody,
    FileBody,
    MigrationBody,
    SourceBody,
)
from cachewright.api.texts import require_line, require_lines
from cachewright.model.online_migrations import SourceTls
from cachewright.services.online_migrations import MigrationConfig
from cachewright.valkey.sources.files import parse_file_url, without_query
from cachewright.valkey.sources.source import SourceUnusable, split_address
from cachewright.valkey.tls_context import load_identity

_MOST_ADDRESSES = 32
_MOST_MEGABYTES = 10240
_BUCKET, _BACKUP = "self_build_obs", "backup_record"


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
        source_tls=_tls(source),
        source_ca=source.ssl_ca or None,
        source_certificate=source.ssl_cert or None,
        source_key=source.ssl_key or None,
        resume_mode=body.resume_mode,
        bandwidth_limit_mb=_limit(body.bandwidth_limit_mb),
    )


def import_config(body: MigrationBody) -> MigrationConfig:
    """Return the configuration of an import of files. Raises ApiError DCS.4062 with the invalid field, or DCS.4061 for
    the id of the instance. Whether the files can be used is checked by the task."""
    if not body.target_instance.id:
        raise refused("target_instance.id", "it is missing")
    if body.migration_method != "full_amount_migration":
        raise refused("migration_method", "files have no changes to follow; use full_amount_migration")
    files = body.backup_files
    urls = _urls(files)
    backup = files.backup_id if files.file_source == _BACKUP else None
    if backup is not None:
        require_line("backup_files.backup_id", backup)
    return MigrationConfig(
        method=body.migration_method,
        target_id=requests.instance_id(body.target_instance.id),
        source_addresses=",".join(map(without_query, urls)),
        source_user=None,
        source_password=None,
        source_name=None,
        source_files="\n".join(urls) if urls else None,
        source_backup=backup,
        bandwidth_limit_mb=_limit(body.bandwidth_limit_mb),
    )


def shown_files(files: BackupFilesBody) -> dict[str, Any]:
    """Return what ShowMigrationTask shows of the files: URLs without signatures."""
    return {
        "file_source": files.file_source,
        "bucket_name": files.bucket_name or None,
        "files": [
            {"file_name": without_query(file.file_name), "size": file.size, "update_at": file.update_at}
            for file in files.files
        ],
        "backup_id": files.backup_id or None,
    }


def _urls(files: BackupFilesBody) -> list[str]:
    if files.file_source == _BACKUP:
        if not files.backup_id or files.files or files.bucket_name:
            raise refused("backup_files.backup_id", "a backup needs its id, and neither bucket_name nor files")
        return []
    if not files.files or files.backup_id:
        raise refused("backup_files.files", f"{_BUCKET} needs files, and no backup_id")
    require_line("backup_files.bucket_name", files.bucket_name)
    if "?" in files.bucket_name:
        raise refused("backup_files.bucket_name", "a URL of a bucket has no query")
    if "://" in files.bucket_name:
        _require_url("backup_files.bucket_name", files.bucket_name)
    return [_url(files.bucket_name, number, file) for number, file in enumerate(files.files)]


def _url(bucket: str, number: int, file: FileBody) -> str:
    is_whole = not bucket or file.file_name.partition("://")[0] in {"http", "https"}
    text = file.file_name if is_whole else f"{bucket.rstrip('/')}/{quote(file.file_name.lstrip('/'))}"
    field = f"backup_files.files[{number}].file_name" if is_whole else "backup_files.bucket_name"
    require_line(field, text)
    _require_url(field, text)
    return text


def _require_url(field: str, text: str) -> None:
    try:
        parse_file_url(text)
    except SourceUnusable as unusable:
        raise refused(field, unusable.message) from unusable


def _tls(source: SourceBody) -> SourceTls | None:
    if not source.ssl_enabled:
        for name, text in (("ssl_ca", source.ssl_ca), ("ssl_cert", source.ssl_cert), ("ssl_key", source.ssl_key)):
            if text:
                raise refused(f"source_instance.{name}", "it needs ssl_enabled")
        return None
    _require_certificate(source)
    require_lines("source_instance.ssl_ca", source.ssl_ca)
    if source.ssl_ca:
        try:
            ssl.create_default_context(cadata=source.ssl_ca)
        except (ValueError, TypeError, ssl.SSLError) as error:  # TypeError: characters beyond ASCII
            raise refused("source_instance.ssl_ca", "it is not a certificate in PEM") from error
    elif not source.ssl_check_hostname:
        reason = "without ssl_ca the certificate of any server would do; name the authorities of the source"
        raise refused("source_instance.ssl_check_hostname", reason)
    return "host" if source.ssl_check_hostname else "chain"


def _require_certificate(source: SourceBody) -> None:
    """Raise ApiError DCS.4062 if the certificate of the client and its key do not belong together. It never contains a
    part of them."""
    require_lines("source_instance.ssl_cert", source.ssl_cert)
    require_lines("source_instance.ssl_key", source.ssl_key)
    if not source.ssl_cert and not source.ssl_key:
        return
    if not source.ssl_cert or not source.ssl_key:
        missing = "ssl_key" if source.ssl_cert else "ssl_cert"
        raise refused(f"source_instance.{missing}", "a certificate needs its private key, and a key its certificate")
    try:
        certificate = x509.load_pem_x509_certificates(source.ssl_cert.encode())[0]
        key = load_pem_private_key(source.ssl_key.encode(), password=None)
        load_identity(ssl.create_default_context(), f"{source.ssl_key}\n{source.ssl_cert}")
        belongs = key.public_key() == certificate.public_key()
    except (ssl.SSLError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        reason = "certificate and key are not both in PEM, or the key is encrypted or belongs to another certificate"
        raise refused("source_instance.ssl_cert", reason) from error
    if not belongs:
        raise refused("source_instance.ssl_cert", "the key belongs to another certificate")


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
