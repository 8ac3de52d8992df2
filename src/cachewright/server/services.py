"""Build the services that the API is made of."""

from collections.abc import Callable

from cachewright.api.services import Services
from cachewright.model.tasks import Task
from cachewright.monitoring.inspection import NodeBudget, NodeInspector
from cachewright.monitoring.node_stats import StatsCollector
from cachewright.monitoring.reach import Reach
from cachewright.monitoring.snapshots import SnapshotReader
from cachewright.operations.context import OperationContext
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
from cachewright.services.tokens import Outcome, TokenService
from cachewright.services.user_queries import UserQueries
from cachewright.services.webhooks import WebhookService
from cachewright.services.write_logs import WriteLogService
from cachewright.store.read_cache import ReadCache
from cachewright.tasks.feed import TaskFeed
from cachewright.threads import RequestThreads


def build_services(
    context: OperationContext,
    feed: TaskFeed,
    *,
    enqueue: Callable[[Task], None],
    statistics: StatsCollector,
    inspector: NodeInspector,
    snapshots: SnapshotReader,
    budget: NodeBudget,
    count_sign_in: Callable[[Outcome], None],
) -> Services:
    """Return the services. `enqueue` passes a stored task to the engine; `count_sign_in` counts the outcome of each
    sign-in."""
    database, host, settings = context.database, context.host, context.settings
    cache, threads = ReadCache(database), RequestThreads()
    tasks = TaskService(context, feed, enqueue, statistics, threads)
    nodes = NodeQueries(database, threads, inspector, snapshots)
    attributes = InstanceAttributes(database)
    creation = InstanceService(database=database, host=host, settings=settings, enqueue=enqueue)
    return Services(
        settings=settings,
        threads=threads,
        feed=feed,
        creation=creation,
        tasks=tasks,
        instances=InstanceQueries(database, host, settings, statistics),
        attributes=attributes,
        hosts=HostQueries(database, host, settings, Reach(database, host, statistics)),
        servers=ServerQueries(database),
        analyses=KeyAnalysisService(database, tasks),
        diagnosis=DiagnosisService(tasks, inspector),
        host_moves=HostMoves(tasks),
        nodes=nodes,
        switchovers=SwitchoverService(tasks, nodes),
        versions=ServerVersions(host, nodes, tasks, threads),
        access=InstanceAccess(database, tasks),
        client_access=ClientAccess(database, host, tasks, attributes),
        online_migrations=OnlineMigrationService(database, tasks),
        rebuilds=RebuildService(tasks, nodes),
        resizes=ResizeService(tasks, budget),
        restores=RestoreService(context, creation, tasks, threads),
        records=TaskRecords(database, cache),
        webhooks=WebhookService(database, to_private=settings.webhooks_to_private),
        audit_log=AuditLog(database),
        credentials=CredentialService(cache, database.cipher),
        tokens=TokenService(database, settings.tokens_per_user, count_sign_in),
        users=UserQueries(database),
        templates=TemplateService(database),
        backups=BackupService(context, tasks, threads),
        write_logs=WriteLogService(database, attributes, settings.backup_storage is not None),
    )
