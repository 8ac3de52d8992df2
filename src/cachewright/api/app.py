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
from cachewright.api.routes import (
    access,
    audit,
    backups,
    bandwidth,
    client_connections,
    configurations,
    control,
    empty_lists,
    flavors,
    hosts,
    identity,
    instance_state,
    instances,
    key_scans,
    nodes,
    online_migrations,
    places,
    plans,
    quota,
    restores,
    sentinels,
    server_versions,
    statistics,
    switchover,
    tags,
    tasks,
    templates,
    webhooks,
    whitelists,
)
from cachewright.api.routes.documentation import pages
from cachewright.api.routes.metrics import metrics_page
from cachewright.api.routes.not_served import refusals
from cachewright.api.security_headers import security_headers
from cachewright.config import Settings
from cachewright.flavors import MEGABYTE
from cachewright.services.audit_log import AuditLog
from cachewright.services.backups import BackupService
from cachewright.services.client_access import ClientAccess
from cachewright.services.credentials import CredentialService
from cachewright.services.hosts import HostQueries
from cachewright.services.instance_access import InstanceAccess
from cachewright.services.instance_attributes import InstanceAttributes
from cachewright.services.instance_queries import InstanceQueries
from cachewright.services.instances import InstanceService
from cachewright.services.node_queries import NodeQueries
from cachewright.services.online_migrations import OnlineMigrationService
from cachewright.services.rebuilds import RebuildService
from cachewright.services.restores import RestoreService
from cachewright.services.server_versions import ServerVersions
from cachewright.services.switchovers import SwitchoverService
from cachewright.services.task_records import TaskRecords
from cachewright.services.tasks import TaskService
from cachewright.services.templates import TemplateService
from cachewright.services.tokens import TokenService
from cachewright.services.user_queries import UserQueries
from cachewright.services.webhooks import WebhookService
from cachewright.tasks.feed import TaskFeed
from cachewright.threads import RequestThreads

SERVED = (
    instances.create_instance,
    instances.list_instances,
    instances.batch_delete_instances,
    instances.show_instance,
    instances.update_instance,
    instances.resize_instance,
    instances.delete_single_instance,
    instances.restart_or_flush_instances,
    switchover.change_master_standby,
    switchover.change_master_standby_async,
    switchover.execute_cluster_switchover,
    switchover.update_slave_priority,
    switchover.rebuild_node,
    switchover.change_nodes_start_stop_status,
    tasks.list_background_task,
    tasks.show_background_task_progress,
    tasks.delete_background_task,
    tasks.list_center_task,
    tasks.delete_center_task,
    control.show_task,
    control.find_task,
    control.control_task,
    control.cancel_task,
    control.retry_task,
    plans.plan_resize,
    plans.start_instance_resize_check_job,
    plans.cancel_instance_resize,
    plans.show_job_info,
    server_versions.show_instance_version,
    server_versions.upgrade_instance_minor_version,
    nodes.list_group_replication_info,
    nodes.show_replication_states,
    nodes.show_nodes_information,
    nodes.show_instance_topology,
    nodes.validate_deletable_replica,
    nodes.batch_show_nodes_information,
    instance_state.show_instance_state,
    sentinels.list_sentinels,
    instance_state.list_instance_statistics,
    configurations.list_configurations,
    configurations.update_configurations,
    configurations.update_instance_config,
    configurations.list_config_histories,
    configurations.show_config_history_detail,
    access.update_password,
    access.reset_password,
    access.list_acl_accounts,
    access.create_acl_account,
    access.delete_acl_account,
    access.update_acl_account_remark,
    access.update_acl_account,
    access.update_acl_account_pass_word,
    access.reset_acl_account_pass_word,
    access.show_renamed_commands,
    whitelists.show_ip_whitelist,
    whitelists.update_ip_whitelist,
    whitelists.update_ip_whitelist_async,
    backups.copy_instance,
    backups.list_backup_records,
    backups.list_backups,
    backups.delete_backup_file,
    backups.list_backup_file_links,
    templates.list_config_templates,
    templates.show_config_template,
    templates.create_custom_template,
    templates.update_config_template,
    templates.delete_config_template,
    key_scans.show_bigkey_autoscan_config,
    key_scans.update_bigkey_autoscan_config,
    key_scans.show_hotkey_autoscan_config,
    key_scans.update_hotkey_auto_scan_config,
    key_scans.show_expire_auto_scan_config,
    key_scans.update_expire_auto_scan_config,
    key_scans.create_auto_expire_scan_task,
    key_scans.scan_expire_key,
    key_scans.show_expire_key_scan_info,
    bandwidth.show_instance_bandwidth_auto_scaling_policy,
    bandwidth.update_instance_bandwidth_auto_scaling_policy,
    bandwidth.delete_instance_bandwidth_auto_scaling_policy,
    client_connections.update_client_ip_transparent_transmission,
    client_connections.show_instance_ssl_detail,
    client_connections.update_ssl_switch,
    client_connections.download_ssl_cert,
    restores.restore_instance,
    restores.list_restore_records,
    empty_lists.list_redislog,
    empty_lists.list_offline_key_analysis_task,
    online_migrations.create_migration_task,
    online_migrations.create_online_migration_task,
    online_migrations.set_online_migration_task,
    online_migrations.list_migration_task,
    online_migrations.show_migration_task,
    online_migrations.show_migration_task_stats,
    online_migrations.list_migration_task_logs,
    online_migrations.stop_migration_task,
    online_migrations.stop_migration_task_sync,
    online_migrations.batch_stop_migration_tasks,
    online_migrations.batch_restart_online_migration_tasks,
    online_migrations.update_migration_task,
    online_migrations.delete_migration_task,
    online_migrations.cut_over_migration_task,
    statistics.list_number_of_instances_in_different_status,
    statistics.list_statistics_of_running_instances,
    tags.show_tags,
    tags.list_tags_of_tenant,
    tags.batch_create_or_delete_tags,
    flavors.list_flavors,
    quota.show_quota_of_tenant,
    hosts.list_hosts,
    places.list_available_zones,
    places.list_zones_of_compute,
    places.migrate_az,
    places.list_maintenance_windows,
    webhooks.create_webhook,
    webhooks.list_webhooks,
    webhooks.delete_webhook,
    webhooks.test_webhook,
    webhooks.list_deliveries,
    audit.list_audit_entries,
    identity.create_token,
    identity.show_token,
    identity.delete_token,
    identity.list_projects,
    identity.list_own_projects,
    identity.list_domains,
    identity.list_users,
    identity.list_regions,
)
"""Routes of all supported operations. The cloud's other operations respond with 404 and their name."""

_OPEN = {
    ("GET", "/openapi.json"),
    ("GET", "/docs"),
    ("GET", "/metrics"),
    ("GET", client_connections.AUTHORITY_PATH),
    ("GET", backups.FILES),
    ("POST", "/v3/auth/tokens"),
    ("POST", session.PATH),
    ("GET", "/console/"),
    *(("GET", path) for path in console_pages.PATHS),
}
"""Endpoints that need no authentication: public descriptions and pages, sign-in, and metrics and files of backups,
which have tokens of their own."""


class Services(msgspec.Struct, frozen=True, kw_only=True):
    """Services that routes and middleware use."""

    settings: Settings
    threads: RequestThreads
    feed: TaskFeed
    creation: InstanceService
    tasks: TaskService
    instances: InstanceQueries
    attributes: InstanceAttributes
    access: InstanceAccess
    client_access: ClientAccess
    hosts: HostQueries
    nodes: NodeQueries
    switchovers: SwitchoverService
    versions: ServerVersions
    online_migrations: OnlineMigrationService
    rebuilds: RebuildService
    restores: RestoreService
    records: TaskRecords
    webhooks: WebhookService
    audit_log: AuditLog
    credentials: CredentialService
    tokens: TokenService
    users: UserQueries
    templates: TemplateService
    backups: BackupService


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
    injected = {
        "settings": settings,
        "feed": services.feed,
        "creation": services.creation,
        "tasks": services.tasks,
        "instances": services.instances,
        "attributes": services.attributes,
        "access": services.access,
        "client_access": services.client_access,
        "hosts": services.hosts,
        "nodes": services.nodes,
        "switchovers": services.switchovers,
        "versions": services.versions,
        "online_migrations": services.online_migrations,
        "rebuilds": services.rebuilds,
        "restores": services.restores,
        "records": services.records,
        "webhooks": services.webhooks,
        "audit_log": services.audit_log,
        "tokens": services.tokens,
        "users": services.users,
        "templates": services.templates,
        "backups": services.backups,
        "authenticator": authenticator,
        "streams": streams,
    }
    app = Litestar(
        route_handlers=[
            *SERVED,
            *refusals(SERVED),
            *pages(describe(SERVED)),
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
        open_to_all=_OPEN,
        response_headers=security_headers(tls=settings.tls_cert is not None),
        bodies=BodyMemory(limits.body_memory_mb * MEGABYTE),
        streams=streams,
        connections=connections or Connections(),
    )


def _provide(part: object) -> Provide:
    def provide() -> Any:
        return part

    return Provide(provide, sync_to_thread=False)
