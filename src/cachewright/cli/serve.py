"""One server process: the engine, the supervisor of nodes, and the HTTP API before them.

All of it is one process on purpose: there is no worker that outlives a killed parent and keeps its port or its tasks.
"""

import asyncio
import fcntl
import logging
import os
import resource
import secrets
import signal
import socket
import ssl
import stat
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec
from granian.constants import Interfaces, SSLProtocols
from granian.http import HTTP1Settings, HTTP2Settings
from granian.log import LogLevels
from granian.server.embed import Server
from limits import parse as parse_rate

from cachewright import logs
from cachewright.api.app import create_app
from cachewright.api.connections import Connections
from cachewright.api.sockets import ConnectionWatch
from cachewright.cli import exposure
from cachewright.config import Listen, Settings, show_ports
from cachewright.errors import CachewrightError, DatabaseUnavailable
from cachewright.hosts.host_users import exposures
from cachewright.hosts.server_binary import UnusableServer, has_tls, require_version
from cachewright.private_files import write_private
from cachewright.server import ControlPlane
from cachewright.services.accounts import Credentials, first_credentials
from cachewright.store import instances
from cachewright.store.database import DatabaseNotReady
from cachewright.store.driver_errors import translate_errors
from cachewright.store.encryption import WrongKey
from cachewright.store.opening import database_place
from cachewright.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

_GRACE_SECONDS = 5
_BETWEEN_CLOSINGS = 0.1
_CLOSING_SECONDS = 2
_CONNECTIONS = 10_000
_WAITING_CONNECTIONS = 1024
_FILES = 65_536
_BUFFER_BYTES = 64 * 1024
_HTTP2 = HTTP2Settings(
    initial_connection_window_size=4 * _BUFFER_BYTES,
    initial_stream_window_size=_BUFFER_BYTES,
    keep_alive_interval=30_000,
    max_concurrent_streams=100,
    max_headers_size=_BUFFER_BYTES,
)
"""What a client can make the server hold before its request has begun. Headers may be 16 KB, paths 8 KB: more of them
is refused by the HTTP server itself."""
_THREADS = 16
"""For what requests do beside the work that has threads of its own (`cachewright.threads`)."""

_TRACED_BY = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


class StartupError(CachewrightError):
    """Why the server does not start, in words for the person who started it."""


def serve_until_stopped(settings: Settings) -> None:
    """Returns after SIGTERM or SIGINT. StartupError where it cannot start."""
    logs.configure(settings.log_format)
    _require_tls(settings)
    _require_rate(settings.rate_limit)
    _require_separate_ports(settings)
    _require_rate(settings.change_rate_limit)
    try:
        require_version(settings.valkey_binary)
    except UnusableServer as unusable:
        raise StartupError(str(unusable)) from unusable
    with ExitStack() as running:
        with _usable(settings):
            settings.data_dir.mkdir(parents=True, exist_ok=True, mode=stat.S_IRWXU)
            restricted = exposure.restrict(settings.data_dir)
            running.enter_context(_only_server_of(settings.data_dir))
            listen = _free(settings.listen)
            service = ControlPlane(settings)
            running.callback(service.stop)
            metrics = Metrics(service.plane.database, service)
            service.plane.feed.listen(metrics.see)
            _trace(service, running)
            service.start()
            _warn_of_other_users(service, settings)
            with service.plane.database.write() as connection:
                first = first_credentials(connection)
            _write_credentials(settings, listen, first)
            if not settings.metrics_token_file.exists():
                write_private(settings.metrics_token_file, secrets.token_urlsafe(32).encode() + b"\n")
            for found in (*restricted, *_exposures(settings, listen)):
                log.warning("%s. %s", found.message, found.remedy)
        asyncio.run(_serve(service, metrics, settings, listen))


def _exposures(settings: Settings, listen: Listen) -> Iterator[exposure.Exposure]:
    yield from exposure.of_user()
    yield from exposure.of_network(_endpoint(settings, listen))
    yield from exposure.of_folder(settings.data_dir)
    yield from exposure.of_files(settings)


def _trace(service: ControlPlane, running: ExitStack) -> None:
    """Traces go where OpenTelemetry's own variables say; without them there are none, and its SDK is not needed."""
    if not any(os.environ.get(name) for name in _TRACED_BY):
        return
    try:
        from cachewright.telemetry.traces import Traces  # noqa: PLC0415  # an optional dependency
    except ImportError as missing:
        raise StartupError(f"traces need OpenTelemetry's SDK: pip install 'cachewright[otel]' ({missing})") from missing
    traces = Traces()
    running.callback(traces.stop)
    service.plane.feed.listen(traces.see)


@contextmanager
def _usable(settings: Settings) -> Iterator[None]:
    """Raise StartupError if the data folder or the database cannot be used: full, read-only, unreachable, damaged."""
    try:
        with translate_errors():
            yield
    except OSError as error:
        raise StartupError(f"cannot use {error.filename or settings.data_dir}: {error.strerror}") from error
    except DatabaseUnavailable as error:
        raise StartupError(f"cannot use {database_place(settings)}: {error}") from error
    except (WrongKey, DatabaseNotReady) as error:
        raise StartupError(str(error)) from error


async def _serve(service: ControlPlane, metrics: Metrics, settings: Settings, listen: Listen) -> None:
    most = _most_connections()
    connections = Connections()
    watch = ConnectionWatch(
        connections, settings.limits, port=listen.port, most=most, count_closed=metrics.connections_closed
    )
    server = Server(
        create_app(service.plane, metrics, connections=connections),
        address=listen.host,
        port=listen.port,
        ssl_cert=settings.tls_cert,
        ssl_key=settings.tls_key,
        ssl_protocol_min=SSLProtocols.tls12,
        interface=Interfaces.ASGI,
        websockets=False,
        backlog=_WAITING_CONNECTIONS,
        backpressure=most,
        http1_settings=HTTP1Settings(max_buffer_size=_BUFFER_BYTES),
        http2_settings=_HTTP2,
        log_level=LogLevels.error,
    )
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(_THREADS, thread_name_prefix="requests"))
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, stopped.set)
    print(f"Cachewright serves {_endpoint(settings, listen)}", flush=True)
    print(f"Console: {_endpoint(settings, listen)}/console", flush=True)
    if settings.credentials_file.exists():
        print(f"Credentials: {settings.credentials_file}", flush=True)
    caring = [
        asyncio.create_task(_forever(care))
        for care in (
            service.supervisor.run,
            service.cluster_check.run,
            service.incidents.run,
            service.adopt,
            service.statistics.measure,
            service.enforcement.run,
            service.tend,
            service.webhook_delivery.run,
            watch.run,
        )
    ]
    serving = asyncio.create_task(server.serve())
    stopping = asyncio.create_task(stopped.wait())
    await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    for care in caring:
        care.cancel()
    service.plane.feed.close()
    connections.closing = True
    if not serving.done():
        server.stop()  # type: ignore[no-untyped-call]  # the library leaves it untyped
    last = loop.time() + _GRACE_SECONDS
    while not serving.done() and loop.time() < last:
        watch.close_unidentified()  # again and again: some may have been accepted meanwhile
        await asyncio.wait({serving}, timeout=_BETWEEN_CLOSINGS)
    await asyncio.gather(*caring, return_exceptions=True)
    if not serving.done():
        watch.close_all()
        log.warning(
            "some requests were not over %s s after the server was told to stop; they are cut off", _GRACE_SECONDS
        )
        await asyncio.wait({serving}, timeout=_CLOSING_SECONDS)


async def _forever(care: Callable[[], Awaitable[None]]) -> None:
    """Nodes and tasks are cared for on, whatever goes wrong once: a database that is busy for too long, a full disk."""
    while True:
        try:
            with translate_errors():
                await care()
        except DatabaseUnavailable as error:
            log.warning("%s: database unavailable, retrying: %s", care.__qualname__, error)
        except Exception:
            log.exception("unexpected error in %s; restarting it", care.__qualname__)
        await asyncio.sleep(1)


def _most_connections() -> int:
    """How many are served at once; more of them wait, without an answer, until others are closed. Each takes a file, so
    this process takes as many files as it may, and leaves half of them to the database and to the nodes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = max(soft, _FILES if hard == resource.RLIM_INFINITY else min(hard, _FILES))
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    return min(_CONNECTIONS, files // 2)


@contextmanager
def _only_server_of(data_dir: Path) -> Iterator[None]:
    """Two servers on one folder would both run its tasks."""
    descriptor = os.open(
        data_dir / "server.lock", os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, stat.S_IRUSR | stat.S_IWUSR
    )
    with os.fdopen(descriptor, "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as taken:
            raise StartupError(f"another server runs on {data_dir}") from taken
        yield


def _free(listen: Listen) -> Listen:
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((listen.host, listen.port))
        except OSError as error:
            raise StartupError(f"cannot listen on {listen.address}: {error.strerror}") from error
        return Listen(listen.host, probe.getsockname()[1])


def _require_tls(settings: Settings) -> None:
    """StartupError where certificate and key are not both there, or do not belong together."""
    if settings.tls_cert is None and settings.tls_key is None:
        return
    if settings.tls_cert is None or settings.tls_key is None:
        raise StartupError("--tls-cert and --tls-key go together")
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(settings.tls_cert, settings.tls_key)
    except ssl.SSLError as error:
        reason = error.reason or "not PEM"
        raise StartupError(f"cannot use {settings.tls_cert} with {settings.tls_key}: {reason}") from error
    except OSError as error:
        raise StartupError(f"cannot read {settings.tls_cert} and {settings.tls_key}: {error.strerror}") from error


def _require_rate(text: str) -> None:
    try:
        accepted = parse_rate(text).amount > 0 and not set(text) & set(";,|")
    except ValueError:
        accepted = False
    if not accepted:
        raise StartupError(f"invalid rate {text!r}; examples: 200/second, 5000/minute")


def _require_separate_ports(settings: Settings) -> None:
    """StartupError where clients and the cluster bus would share ports: a firewall could not tell them apart."""
    (first, end), (first_peer, end_peer) = settings.node_ports, settings.bus_ports
    if first < end_peer and first_peer < end:
        shared = f"--bus-ports {show_ports(settings.bus_ports)} overlaps {show_ports(settings.node_ports)}"
        raise StartupError(f"{shared}, the ports for clients of caches")


def _warn_of_other_users(service: ControlPlane, settings: Settings) -> None:
    with service.plane.database.read() as connection:
        with_tls, without_tls = instances.count_by_tls(connection)
    tls = has_tls(settings.valkey_binary)
    for found in exposures(tls=tls, instances_with_tls=with_tls, instances_without_tls=without_tls):
        log.log(logging.ERROR if found.blocking else logging.WARNING, "%s %s", found.risk, found.remedy)


def _endpoint(settings: Settings, listen: Listen) -> str:
    return f"{'https' if settings.tls_cert else 'http'}://{listen.address}"


def _write_credentials(settings: Settings, listen: Listen, first: Credentials | None) -> None:
    """The oldest key that works, and where the server is, for whoever owns the folder."""
    if first is None or first.project is None:
        settings.credentials_file.unlink(missing_ok=True)
        log.warning("no key works: there is no %s; make one with `cachewright keys create`", settings.credentials_file)
        return
    credentials = {
        "project_id": first.project.id,
        "project_name": first.project.name,
        "access_key": first.key.access_key,
        "secret_key": first.key.secret_key,
        "endpoint": _endpoint(settings, listen),
    }
    write_private(settings.credentials_file, msgspec.json.format(msgspec.json.encode(credentials)) + b"\n")
