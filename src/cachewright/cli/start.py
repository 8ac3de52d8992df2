"""`cachewright serve` and `cachewright demo`: what starts servers."""

import sys
import tempfile
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter, validators

from cachewright.cli.serve import CannotServe, serve_until_stopped
from cachewright.config import Listen, Settings
from cachewright.logs import Format

_AT_LEAST_1 = validators.Number(gte=1)


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
    rate_limit: Annotated[str, Parameter(help="How many requests one user may send.")] = "200/second",
    change_rate_limit: Annotated[str, Parameter(help="How many of them may be changes.")] = "100/second",
    tokens_per_user: Annotated[
        int,
        Parameter(
            help="Tokens, and sessions of the console, of one user; a new one ends the oldest.", validator=_AT_LEAST_1
        ),
    ] = 20,
    trusted_proxy: Annotated[
        tuple[str, ...],
        Parameter(
            help="ADDRESS or ADDRESS/NET of a proxy whose X-Forwarded-For or Forwarded is believed; may be repeated.",
            negative="",
        ),
    ] = (),
    log_format: Annotated[Format, Parameter(help="How the server logs, on standard error.")] = "text",
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
            change_rate_limit=change_rate_limit,
            tokens_per_user=tokens_per_user,
            trusted_proxies=tuple(str(ip_network(proxy)) for proxy in trusted_proxy),
            log_format=log_format,
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
