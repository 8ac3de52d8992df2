"""The services that the API uses."""

import msgspec

from cachewright.config import Settings
from cachewright.services.audit_log import AuditLog
from cachewright.services.backups import BackupService
from cachewright.services.client_access import ClientAccess
from cachewright.services.credentials import CredentialService
from cachewright.services.diagnosis import DiagnosisService
from cachewright.services.host_moves import HostMoves
from cachewright.services.hosts import HostQueries
from cachewright.services.instance_access import InstanceAccess
from cachewright.services.instance_attributes import InstanceAttributes
from cachewright.services.instance_queries import InstanceQueries
from cachewright.services.instances import InstanceService
from cachewright.services.key_analyses import KeyAnalysisService
from cachewright.services.node_queries import NodeQueries
from cachewright.services.online_migrations import OnlineMigrationService
from cachewright.services.rebuilds import RebuildService
from cachewright.services.resizes import ResizeService
from cachewright.services.restores import RestoreService
from cachewright.services.server_versions import ServerVersions
from cachewright.services.servers import ServerQueries
from cachewright.services.switchovers import SwitchoverService
from cachewright.services.task_records import TaskRecords
from cachewright.services.tasks import TaskService
from cachewright.services.templates import TemplateService
from cachewright.services.tokens import TokenService
from cachewright.services.user_queries import UserQueries
from cachewright.services.webhooks import WebhookService
from cachewright.services.write_logs import WriteLogService
from cachewright.tasks.feed import TaskFeed
from cachewright.threads import RequestThreads


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
    servers: ServerQueries
    analyses: KeyAnalysisService
    diagnosis: DiagnosisService
    host_moves: HostMoves
    nodes: NodeQueries
    switchovers: SwitchoverService
    versions: ServerVersions
    online_migrations: OnlineMigrationService
    rebuilds: RebuildService
    resizes: ResizeService
    restores: RestoreService
    records: TaskRecords
    webhooks: WebhookService
    audit_log: AuditLog
    credentials: CredentialService
    tokens: TokenService
    users: UserQueries
    templates: TemplateService
    backups: BackupService
    write_logs: WriteLogService
