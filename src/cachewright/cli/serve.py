"""`cachewright serve`: check the environment, then run the server until it is stopped.

The server is one process, so no worker can outlive a killed parent and keep its port or its tasks.
"""

import asyncio
import logging
import os
import secrets
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import msgspec

from cachewright import logs
from cachewright.cli import environment, exposure, garbage
from cachewright.cli.environment import StartupError
from cachewright.config import Listen, Settings
from cachewright.errors import DatabaseUnavailable
from cachewright.hosts.host_users import exposures
from cachewright.hosts.server_binary import has_tls
from cachewright.private_files import write_private
from cachewright.server.control_plane import ControlPlane
from cachewright.services.accounts import Credentials
from cachewright.store.database import DatabaseNotReady
from cachewright.store.driver_errors import translate_errors
from cachewright.store.encryption import WrongKey
from cachewright.store.opening import database_place

log = logging.getLogger(__name__)

_TRACED_BY = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


def serve_until_stopped(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. StartupError if the server cannot start. It ends with EX_TEMPFAIL if it cannot
    take over from another server."""
    logs.configure(settings.log_format)
    environment.require(settings)
    with ExitStack() as running:
        with _usable(settings):
            settings.data_dir.mkdir(parents=True, exist_ok=True, mode=stat.S_IRWXU)
            restricted = exposure.restrict(settings.data_dir)
            running.enter_context(environment.only_server_of(settings.data_dir))
            listen = environment.free_port(settings.listen)
            server = ControlPlane(settings)
            running.callback(server.stop)
            _trace(server)
        asyncio.run(_serve(server, settings, listen, restricted))
        if server.has_failed:
            raise SystemExit(os.EX_TEMPFAIL)  # the service manager should start it again


async def _serve(
    server: ControlPlane, settings: Settings, listen: Listen, restricted: Sequence[exposure.Exposure]
) -> None:
    with _usable(settings):
        http = await server.start(listen)
        _warn_of_other_users(server, settings)
        _write_credentials(settings, listen, server.first_credentials())
        if not settings.metrics_token_file.exists():
            write_private(settings.metrics_token_file, secrets.token_urlsafe(32).encode() + b"\n")
        for found in (*restricted, *_exposures(settings, listen)):
            log.warning("%s. %s", found.message, found.remedy)
    garbage.collect_as_usual()
    print(f"Cachewright serves {_endpoint(settings, listen)}", flush=True)
    print(f"Console: {_endpoint(settings, listen)}/console", flush=True)
    if settings.credentials_file.exists():
        print(f"Credentials: {settings.credentials_file}", flush=True)
    if server.is_standby:
        print("Another server performs tasks. This one takes over when that one ends.", flush=True)
    await server.serve(http)


def _exposures(settings: Settings, listen: Listen) -> Iterator[exposure.Exposure]:
    yield from exposure.of_user()
    yield from exposure.of_network(_endpoint(settings, listen))
    yield from exposure.of_nodes(settings)
    yield from exposure.of_folder(settings.data_dir)
    yield from exposure.of_files(settings)


def _trace(server: ControlPlane) -> None:
    """Export traces to the endpoint in OpenTelemetry's variables. Without them its SDK is not needed."""
    if not any(os.environ.get(name) for name in _TRACED_BY):
        return
    try:
        from cachewright.telemetry.traces import Traces  # noqa: PLC0415  # an optional dependency
    except ImportError as missing:
        raise StartupError(f"traces need OpenTelemetry's SDK: pip install 'cachewright[otel]' ({missing})") from missing
    server.trace(Traces())


@contextmanager
def _usable(settings: Settings) -> Iterator[None]:
    """Raise StartupError if the data directory or the database cannot be used: full, read-only, unreachable,
    damaged."""
    try:
        with translate_errors():
            yield
    except OSError as error:
        raise StartupError(f"cannot use {error.filename or settings.data_dir}: {error.strerror}") from error
    except DatabaseUnavailable as error:
        raise StartupError(f"cannot use {database_place(settings)}: {error}") from error
    except (WrongKey, DatabaseNotReady) as error:
        raise StartupError(str(error)) from error


def _warn_of_other_users(server: ControlPlane, settings: Settings) -> None:
    with_tls, without_tls = server.count_instances_by_tls()
    tls = has_tls(settings.valkey_binary)
    for found in exposures(tls=tls, instances_with_tls=with_tls, instances_without_tls=without_tls):
        log.log(logging.ERROR if found.blocking else logging.WARNING, "%s %s", found.risk, found.remedy)


def _endpoint(settings: Settings, listen: Listen) -> str:
    return f"{'https' if settings.tls_cert else 'http'}://{listen.address}"


def _write_credentials(settings: Settings, listen: Listen, first: Credentials | None) -> None:
    """Write the oldest enabled key and the server's address, readable by the owner of the directory alone."""
    if first is None or first.project is None:
        settings.credentials_file.unlink(missing_ok=True)
        log.warning(
            "no access key is enabled, so %s is not written; create a key with `cachewright keys create`",
            settings.credentials_file,
        )
        return
    credentials = {
        "project_id": first.project.id,
        "project_name": first.project.name,
        "access_key": first.key.access_key,
        "secret_key": first.key.secret_key,
        "endpoint": _endpoint(settings, listen),
    }
    write_private(settings.credentials_file, msgspec.json.format(msgspec.json.encode(credentials)) + b"\n")
