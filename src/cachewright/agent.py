"""The agent of a host: performs calls of the server on the nodes of this machine, and reports what it sees.

An agent is a DBOS executor that listens to its host's own queue. It listens on no port, has no key of the server, and
needs few rights in the database (`docs/hosts.md`).
"""

import asyncio
import logging
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence

import msgspec
import sqlalchemy as sa
from cryptography.fernet import Fernet
from dbos import DBOS, DBOSConfig

from cachewright.concurrency import end_tasks
from cachewright.config import Settings
from cachewright.errors import DatabaseUnavailable
from cachewright.hosts import calls
from cachewright.hosts.envelopes import AgentKey
from cachewright.hosts.host import CONFIG, LINKS, SENTINEL_CONFIG, Host, ProcessInfo
from cachewright.hosts.local import LocalHost
from cachewright.jobs.migrations.machine import GatewayMachine
from cachewright.jobs.runner import JobRunner
from cachewright.jobs.temporary_node import TemporaryNodes
from cachewright.jobs.write_logs import delete_links_when_full
from cachewright.logs import RARELY
from cachewright.model.hosts import HostReport
from cachewright.services.hosts import report_of
from cachewright.store.agent_records import AgentRecords
from cachewright.store.database import DatabaseNotReady
from cachewright.store.encryption import SecretCipher
from cachewright.store.notifications import calls_channel, listen
from cachewright.store.postgres import PostgresDatabase
from cachewright.store.workflow_values import restrict_dbos
from cachewright.tasks.engine import APPLICATION, IDLE_TRANSACTION_SECONDS, WORKFLOW_VERSION
from cachewright.tasks.queue import WakeableQueue
from cachewright.threads import in_background

log = logging.getLogger(__name__)

_ROUND_SECONDS = 0.5
_REPORT_SECONDS = 2.0
_MEASURE_SECONDS = 10.0
_STOP_SECONDS = 10.0
_DISK_SECONDS = 1.0
_SWEEP_SECONDS = 3600.0

_agent: "Agent | None" = None


class Agent:
    def __init__(self, name: str, settings: Settings) -> None:
        """Raises DatabaseUnavailable."""
        self._name = name
        self._jobs = JobRunner(settings)
        self._host: Host = LocalHost(settings, self._jobs)
        self._machine = GatewayMachine(self._host.gateways, self._host.gateways_dir, self._host.own_resources)
        self._key = AgentKey(settings.data_dir / "agent.key")
        assert settings.database_url is not None  # noqa: S101  # the command line requires it
        self._database = PostgresDatabase(sa.make_url(settings.database_url), SecretCipher([Fernet.generate_key()]))
        self._records = AgentRecords(self._database, name)
        self._stopped = asyncio.Event()
        self._threads_stopped = threading.Event()
        self._queue = WakeableQueue(calls.queue_of(name), polling=settings.queue_polling)
        self._report: HostReport | None = None
        self._measured_at = self._reported_at = float("-inf")

    async def join(self) -> None:
        """Delete nodes that were removed while this host did not report, before it takes part again. Raises
        DatabaseNotReady if the database has no such host, or it was given up."""
        self._jobs.start(self._machine, TemporaryNodes.of(self._host))
        await self._jobs.remove_temporary_nodes()
        while stale := await in_background(self._records.stale):
            await self._delete(stale)
        await self._remove_strays()
        try:
            await in_background(self._records.require_host)
        except DatabaseNotReady:
            await self._jobs.remove_all_gateways()
            raise

    async def run(self) -> None:
        """Perform calls until SIGTERM or SIGINT. Nodes keep running."""
        for signal_number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(signal_number, self._stopped.set)
        await in_background(self._start)
        watching = asyncio.create_task(self._watch_disk())
        try:
            while not self._stopped.is_set():
                try:
                    await self._report_changes()
                except DatabaseUnavailable as error:
                    log.warning("no report to the server, the database is unavailable: %s", error, extra=RARELY)
                try:
                    await asyncio.wait_for(self._stopped.wait(), _ROUND_SECONDS)
                except TimeoutError:
                    continue
        finally:
            await end_tasks(watching)
            await in_background(self._stop)
            await self._jobs.stop()

    async def _watch_disk(self) -> None:
        """Until cancelled: delete what fills the disk of the nodes, and what no job needs any more. It waits neither
        for the database nor for the storage."""
        swept_at = float("-inf")
        while True:
            try:
                if reason := await in_background(delete_links_when_full, self._host.nodes_dir):
                    log.warning("links to files of write logs are deleted: %s", reason, extra=RARELY)
                await self._jobs.remove_unused_gateways()
                if time.monotonic() - swept_at >= _SWEEP_SECONDS:
                    swept_at = time.monotonic()
                    await self._jobs.sweep()
            except OSError as error:  # the disk may work again later, and must not fill then
                log.warning("what fills the disk of the nodes cannot be deleted: %s", error, extra=RARELY)
            await asyncio.sleep(_DISK_SECONDS)

    async def perform(self, sealed: str) -> str:
        """Perform an encrypted call, and return its encrypted answer. Raises WrongEnvelope."""
        text, envelope = self._key.open(sealed)
        call = msgspec.json.decode(text, type=calls.Call)
        answer = await calls.perform(self._host, call, self._records.is_recorded, self._records.epoch)
        return envelope.seal_answer(calls.encode_answer(call, answer))

    def _start(self) -> None:
        self._records.claim_address(self._host.address)
        if not self._records.has_own_role:
            log.warning("this agent has a role that others share: cachewright hosts grant %s", self._name)
        global _agent  # noqa: PLW0603  # DBOS keeps its functions in a process-wide registry
        _agent = self
        config: DBOSConfig = {
            "name": APPLICATION,
            "system_database_url": self._database.workflow_url,
            "dbos_system_schema": self._records.schema,
            "application_version": WORKFLOW_VERSION,
            "executor_id": calls.queue_of(self._name),
            "console_log_level": "CRITICAL",
            "sys_db_idle_transaction_timeout_sec": IDLE_TRANSACTION_SECONDS,
            "db_engine_kwargs": {"connect_args": dict(self._database.workflow_options)},
            "run_migrations": False,  # the server's, whose role owns the tables
        }
        restrict_dbos()
        dbos = DBOS(config=config)
        DBOS.listen_queues([self._queue.name] if self._queue.polling else [])
        DBOS.launch()
        self._queue.start(dbos)
        receiving = threading.Thread(
            target=listen,
            args=(self._database.workflow_url, self._receivers, self._threads_stopped),
            name="calls",
            daemon=True,
        )
        receiving.start()

    def _receivers(self) -> Mapping[str, Callable[[str], None]]:
        return {calls_channel(self._key.public): lambda _: self._queue.wake()}

    def _stop(self) -> None:
        self._threads_stopped.set()
        self._queue.stop()
        DBOS.destroy(workflow_completion_timeout_sec=0)
        self._database.close()

    async def _report_changes(self) -> None:
        """Report if something has changed, or the last report is some seconds old."""
        now = time.monotonic()
        report = self._report
        if report is None or now - self._measured_at >= _MEASURE_SECONDS:
            report, self._measured_at = await in_background(self._measured), now
        await self._remove_strays()
        report = msgspec.structs.replace(
            report,
            processes=_shown(await self._host.processes()),
            sentinels=_shown(await self._host.sentinels.processes()),
            configured=tuple(sorted(await self._host.with_file(CONFIG))),
            linked=tuple(sorted(await self._host.with_file(LINKS))),
            runs_temporary_nodes=True,
            gateways=tuple(sorted(await self._machine.migrations())),
            public_key=self._key.public,
            has_own_role=self._records.has_own_role,
        )
        if report != self._report or now - self._reported_at >= _REPORT_SECONDS:
            if await in_background(self._records.store, self._host.address, report):
                self._report, self._reported_at = report, now
            elif stale := await in_background(self._records.stale):
                await self._delete(stale)
            elif await in_background(self._records.is_given_up):
                log.critical("the host %s was removed or given up; this agent stops", self._name)
                await self._jobs.remove_all_gateways()
                self._stopped.set()

    async def _remove_strays(self) -> None:
        """Remove sentinels that are recorded elsewhere now, or not at all, and all if this host was given up. They have
        no data, and one that runs twice would confuse the others. A sentinel is recorded before its files are
        written."""
        present = await self._host.sentinels.with_file(SENTINEL_CONFIG)
        if not present:
            return
        for sentinel_id in present.difference(await in_background(self._records.sentinels)):
            try:
                await self._host.sentinels.remove(sentinel_id, _STOP_SECONDS)
            except TimeoutError as error:
                log.error("sentinel %s does not belong to this host any more and does not end: %s", sentinel_id, error)
            else:
                log.info("sentinel %s does not belong to this host any more and is removed", sentinel_id)

    async def _delete(self, stale: Sequence[str]) -> None:
        """Delete nodes that are not recorded any more. One that does not end is tried again in the next round; until
        then this host does not report."""
        for node_id in stale:
            try:
                await self._host.remove(node_id, _STOP_SECONDS)
            except TimeoutError as error:
                log.error("node %s was removed elsewhere and cannot be deleted here: %s", node_id, error)
                await asyncio.sleep(_ROUND_SECONDS)
                continue
            log.warning(
                "node %s was removed while this host did not report; its process and files are deleted", node_id
            )
            await in_background(self._records.deleted, node_id)

    def _measured(self) -> HostReport:
        return msgspec.structs.replace(
            report_of(self._host),
            clock_offset=self._records.clock_offset(),
            runs_sentinels=self._records.may_run_sentinels(),
        )


def _shown(processes: Mapping[str, ProcessInfo]) -> dict[str, tuple[int, float]]:
    return {name: (process.pid, process.started_at) for name, process in processes.items()}


@DBOS.workflow(name=calls.WORKFLOW)
async def perform_call(sealed: str) -> str:
    assert _agent is not None  # noqa: S101  # the agent registers itself before it starts DBOS
    with _agent._queue.running():
        return await _agent.perform(sealed)
