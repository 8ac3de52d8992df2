"""The ASGI application: routes of the contract behind the middleware that checks every request."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Protocol

import msgspec
from limits import parse as parse_rate
from litestar import Litestar
from litestar.datastructures import State
from litestar.di import Provide
from litestar.types import ASGIApp

from cachewright.api.auth.authorization import THREADS, guarding
from cachewright.api.auth.bodies import BodyMemory
from cachewright.api.auth.credentials import Authenticator, utc_now
from cachewright.api.auth.limits import RateLimit, StreamLimit
from cachewright.api.auth.proxies import TrustedProxies
from cachewright.api.connections import Connections
from cachewright.api.console import pages as console_pages
from cachewright.api.console import session
from cachewright.api.middleware import RequestMetrics, RequestMiddleware
from cachewright.api.openapi.document import describe
from cachewright.api.progress_fast_path import ProgressFastPath
from cachewright.api.responses import EXCEPTION_HANDLERS
from cachewright.api.routes import backups, client_connections, tasks
from cachewright.api.routes.documentation import pages
from cachewright.api.routes.metrics import metrics_page
from cachewright.api.routes.not_served import refusals
from cachewright.api.security_headers import security_headers
from cachewright.api.served import OPEN, SERVED
from cachewright.api.services import Services
from cachewright.flavors import MEGABYTE


class Metrics(RequestMetrics, Protocol):
    """Counts responses, and renders the counts."""

    def text(self) -> bytes:
        """Return the page for Prometheus. Reads the database."""


def create_app(
    services: Services,
    metrics: Metrics,
    now: Callable[[], datetime] = utc_now,
    connections: Connections | None = None,
) -> ASGIApp:
    """Create the application for granian.

    :param metrics: counts the responses.
    :param now: clock for the verification of signatures.
    :param connections: counts the requests of each connection.
    """
    settings = services.settings
    limits = settings.limits
    authenticator = Authenticator(services.credentials, now)
    streams = StreamLimit(limits.streams_per_user, limits.streams)
    changes = RateLimit(parse_rate(settings.change_rate_limit))
    injected = msgspec.structs.asdict(services) | {"authenticator": authenticator, "streams": streams}
    app = Litestar(
        route_handlers=[
            *SERVED,
            *refusals(SERVED),
            *pages(lambda: describe(SERVED)),
            client_connections.show_authority,
            metrics_page(settings, metrics.text),
            backups.download_backup_file,
            *console_pages.ROUTES,
            *session.ROUTES,
        ],
        dependencies={name: _provide(part) for name, part in injected.items()},
        before_request=guarding(changes, services.audit_log),  # as a guard, it would make the framework copy routes
        exception_handlers=EXCEPTION_HANDLERS,
        openapi_config=None,
        logging_config=None,
        state=State({THREADS: services.threads}),
        request_max_body_size=None,  # the middleware has read the body, and has its own limit
    )
    return RequestMiddleware(
        ProgressFastPath(app, services.records, tasks.show_background_task_progress),
        services.audit_log,
        authenticator,
        RateLimit(parse_rate(settings.rate_limit)),
        proxies=TrustedProxies(settings.trusted_proxies),
        metrics=metrics,
        open_to_all=OPEN,
        response_headers=security_headers(tls=settings.tls_cert is not None),
        bodies=BodyMemory(limits.body_memory_mb * MEGABYTE),
        streams=streams,
        connections=connections or Connections(),
    )


def _provide(part: object) -> Provide:
    def provide() -> Any:
        return part

    return Provide(provide, sync_to_thread=False)
