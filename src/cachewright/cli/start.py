"""`cachewright serve` and `cachewright demo`: what starts servers."""

import sys
import tempfile
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter, validators

from cachewright.cli.serve import CannotServe, serve_until_stopped
from cachewright.config import Listen, RequestLimits, Settings
from cachewright.logs import Format

_LIMITS = RequestLimits()


def serve(
    *,
    data_dir: Annotated[
        Path,
        Parameter(help="Folder of the database, the credentials and the cache nodes.", env_var="CACHEWRIGHT_DATA_DIR"),
    ],
    listen: Annotated[str, Parameter(help="HOST:PORT; port 0 takes a free one.")] = "127.0.0.1:8765",
    tls_cert: Annotated[Path | None, Parameter(help="Serve HTTPS with this certificate chain (PEM).")] = None,
    tls_key: Annotated[Path | None, Parameter(help="The certificate's private key (PEM).")] = None,
    valkey_binary: Annotated[Path | None, Parameter(help="valkey-server to run instead of the packaged one.")] = None,
    secret_key_file: Annotated[
        Path | None,
        Parameter(
            help="Key that secrets in the database are sealed with; made in the data folder if not given.",
            env_var="CACHEWRIGHT_SECRET_KEY_FILE",
        ),
    ] = None,
    task_retention_days: Annotated[
        float, Parameter(help="Keep tasks that have ended for so long.", validator=validators.Number(gte=0))
    ] = 365,
    audit_retention_days: Annotated[
        float, Parameter(help="Keep entries of the audit log for so long.", validator=validators.Number(gte=0))
    ] = 365,
    rate_limit: Annotated[str, Parameter(help="What one key or token may ask for.")] = "200/second",
    log_format: Annotated[Format, Parameter(help="How the server logs, on standard error.")] = "text",
    connections_per_address: Annotated[
        int,
        Parameter(
            help="Open connections of one address. A proxy in front of the server is one address: allow it more.",
            validator=validators.Number(gte=1),
        ),
    ] = _LIMITS.connections_per_address,
    first_request_seconds: Annotated[
        float,
        Parameter(help="Time for a new connection to send its first request.", validator=validators.Number(gt=0)),
    ] = _LIMITS.first_request_seconds,
    idle_seconds: Annotated[
        float,
        Parameter(help="Time that a connection without a request stays open.", validator=validators.Number(gt=0)),
    ] = _LIMITS.idle_seconds,
    body_memory_mb: Annotated[
        int,
        Parameter(help="Megabytes of request bodies held at the same time.", validator=validators.Number(gte=48)),
    ] = _LIMITS.body_memory_mb,
    streams_per_user: Annotated[
        int, Parameter(help="Open event streams of one user.", validator=validators.Number(gte=1))
    ] = _LIMITS.streams_per_user,
    streams: Annotated[
        int, Parameter(help="Open event streams of all users.", validator=validators.Number(gte=1))
    ] = _LIMITS.streams,
) -> None:
    """Serve the DCS v2 API and run caches on this machine until SIGTERM or Ctrl-C.

    Caches go on when the server stops, and are taken up again when it starts.

    Example: cachewright serve --data-dir ./data --listen 127.0.0.1:8765
    """
    try:
        settings = Settings(
            data_dir=data_dir.absolute(),
            listen=Listen.parse(listen),
            tls_cert=tls_cert,
            tls_key=tls_key,
            secret_key_file=secret_key_file and secret_key_file.absolute(),
            task_retention_days=task_retention_days,
            audit_retention_days=audit_retention_days,
            rate_limit=rate_limit,
            log_format=log_format,
            limits=RequestLimits(
                connections_per_address=connections_per_address,
                first_request_seconds=first_request_seconds,
                idle_seconds=idle_seconds,
                body_memory_mb=body_memory_mb,
                streams_per_user=streams_per_user,
                streams=streams,
            ),
        )
        if valkey_binary:
            settings = msgspec.structs.replace(settings, valkey_binary=valkey_binary)
        serve_until_stopped(settings)
    except (ValueError, CannotServe) as error:
        sys.exit(f"cachewright: {error}")


def demo(
    *,
    keys: Annotated[int, Parameter(help="Keys to load.")] = 300_000,
    from_: Annotated[int, Parameter(name="--from", help="Shards at the start and at the end.")] = 3,
    to: Annotated[int, Parameter(help="Shards in between.")] = 5,
    json: Annotated[bool, Parameter(negative="", help="Print what was measured as JSON.")] = False,
    data_dir: Annotated[Path | None, Parameter(help="Folder to use; must be empty or not exist.")] = None,
) -> None:
    """Create a cluster, load it, scale it out and in under traffic, and print what was measured.

    Exits 0 only if every task ended well, nothing was lost and nothing is left behind.

    Example: cachewright demo --keys 300000 --from 3 --to 5
    """
    try:
        from cachewright.cli.demo import DemoOptions, run  # noqa: PLC0415  # needs the SDK, an optional dependency
    except ImportError as missing:
        sys.exit(f"cachewright: the demo needs the cloud's SDK: pip install 'cachewright[demo]' ({missing})")
    with tempfile.TemporaryDirectory(prefix="cachewright-demo-") as fresh:
        sys.exit(run(DemoOptions(keys=keys, start=from_, to=to, json=json, data_dir=data_dir or Path(fresh) / "data")))
