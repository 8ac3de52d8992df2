"""A host with an agent: methods of `Host` become calls, which the agent performs."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence, Set
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar

import msgspec
import sqlalchemy as sa
from dbos import DBOSClient
from dbos import error as dbos_error

from cachewright.hosts.call_ends import CallEnds
from cachewright.hosts.calls import CHANGING, WORKFLOW, Call, HostSilent, ProcessKind, decode_answer, queue_of
from cachewright.hosts.envelopes import seal
from cachewright.hosts.host import ChildProcess, LogPart, LogPosition, ProcessInfo
from cachewright.hosts.jobs import ORDER_SECONDS, JobState
from cachewright.hosts.ports import NodePorts
from cachewright.model.hosts import HostReport
from cachewright.store.agent_access import access_name
from cachewright.store.agent_records import SHARED_SCHEMA
from cachewright.store.database import Database
from cachewright.store.driver_errors import translate_errors
from cachewright.store.notifications import notify_agent
from cachewright.store.workflow_runs import forget_ended
from cachewright.store.workflow_values import restrict_dbos

log = logging.getLogger(__name__)

_Kind = TypeVar("_Kind")

_ANSWER_SECONDS = 15.0
_START_SECONDS = 60.0
_BESIDES_GRACE_SECONDS = 30.0
_LOOK_SECONDS = 1.0
_CONNECTIONS = 10
_WHOLE_HOST = "host"
"""Partition of calls that concern no single node. Calls of one partition are performed one after another."""


class HostCalls:
    """Passes calls to agents through DBOS's queues. Each agent with a role of its own has a schema of its own."""

    def __init__(self, database: Database, version: str) -> None:
        """:param version: DBOS's application version, which agents have too."""
        self._database = database
        self._version = version
        self._engine: sa.Engine | None = None
        self._lock = threading.Lock()
        self._clients: dict[str, DBOSClient] = {}
        self._ends = CallEnds(self._client)

    @property
    def epoch(self) -> int | None:
        """Epoch of this server's claim to perform tasks."""
        return self._database.claim.epoch

    def queue(self, host_name: str, report: HostReport) -> "HostQueue":
        """Return the queue of calls to the agent of this report. Raises HostSilent if it takes none."""
        if report.public_key is None:
            raise HostSilent(f"host {host_name} does not report")
        schema = self._own_schema(host_name) if report.has_own_role else SHARED_SCHEMA
        return HostQueue(
            self._database,
            partial(self._client, schema),
            self._version,
            host_name,
            report.public_key,
            end=partial(self._ends.expect, schema),
        )

    def forget(self, host_names: Iterable[str]) -> None:
        """Delete records of ended calls in the schemas of hosts. Those in the shared schema are deleted with tasks."""
        for name in host_names:
            try:
                client = self._client(self._own_schema(name))
                forget_ended(client.list_workflows, client.delete_workflows)
            except Exception as error:
                log.warning("ended calls to host %s cannot be deleted: %s", name, error)

    def close(self) -> None:
        for client in self._clients.values():
            client.destroy()
        if self._engine is not None:
            self._engine.dispose()

    def _own_schema(self, host_name: str) -> str:
        return access_name(str(sa.make_url(self._database.workflow_url).database), host_name)

    def _client(self, schema: str) -> DBOSClient:
        with self._lock:
            if self._engine is None:
                restrict_dbos()
                logging.getLogger("dbos").setLevel(logging.CRITICAL)  # as in `Engine.start`
                self._engine = self._database.workflow_engine(_CONNECTIONS)
            if schema not in self._clients:
                self._clients[schema] = DBOSClient(
                    system_database_engine=self._engine, dbos_system_schema=schema, retry_connection_errors=False
                )
            return self._clients[schema]


class HostQueue:
    """Calls to one agent."""

    def __init__(
        self,
        database: Database,
        client: Callable[[], DBOSClient],
        version: str,
        host_name: str,
        public_key: str,
        *,
        end: Callable[[str], Future[None]],
    ) -> None:
        """:param client: returns DBOS's client for the schema of the calls; it blocks.
        :param end: returns the end of a call, by its id.
        :ivar public_key: the key of the agent.
        """
        self.public_key = public_key
        self._database = database
        self._client = client
        self._end = end
        self._version = version
        self._host_name = host_name

    def enqueue(self, partition: str, sealed: str) -> str:
        """Enqueue a call and return its id. Raises DatabaseUnavailable."""
        with translate_errors():
            handle: Any = self._client().enqueue(
                {
                    "workflow_name": WORKFLOW,
                    "queue_name": queue_of(self._host_name),
                    "queue_partition_key": partition,
                    "app_version": self._version,
                },
                sealed,
            )
            notify_agent(self._database, self.public_key)
        return str(handle.get_workflow_id())

    async def answer(self, call_id: str) -> str:
        """Wait for the encrypted answer. Raises HostSilent if the call was cancelled, or DatabaseUnavailable."""
        await asyncio.wrap_future(self._end(call_id))
        with translate_errors():
            handle: Any = await self._client().retrieve_workflow_async(call_id)
            try:
                return str(await handle.get_result())
            except sa.exc.SQLAlchemyError:
                raise
            except (Exception, dbos_error.DBOSBaseException) as error:  # what the agent has stored
                raise HostSilent(f"a call failed: {type(error).__name__}: {error}") from error

    def cancel(self, call_id: str) -> None:
        with translate_errors():
            self._client().cancel_workflow(call_id)


class RemoteProcesses:
    """The methods of `Processes` that concern one process of a host with an agent. Raises HostSilent if the agent does
    not answer in time."""

    def __init__(
        self,
        name: str,
        calls: HostCalls,
        report: Callable[[], HostReport],
        clock_ahead: Callable[[], float],
        kind: ProcessKind = "nodes",
    ) -> None:
        """:param name: of the host.
        :param report: returns the latest report of the agent, or raises HostSilent while it does not report.
        :param clock_ahead: returns by how many seconds the clock of the host is ahead of this machine's.
        """
        self.name = name
        self._kind: ProcessKind = kind
        self._calls = calls
        self._report = report
        self._clock_ahead = clock_ahead

    async def process(self, name: str) -> ProcessInfo | None:
        found: ProcessInfo | None = await self._ask(ProcessInfo | None, "process", name=name)
        return found and found.seen_from_a_clock_behind(self._clock_ahead())

    async def is_running(self, name: str) -> bool:
        result: bool = await self._ask(bool, "is_running", name=name)
        return result

    async def is_busy(self, name: str) -> bool:
        result: bool = await self._ask(bool, "is_busy", name=name)
        return result

    async def has_file(self, name: str, file: str) -> bool:
        result: bool = await self._ask(bool, "has_file", name=name, file=file)
        return result

    async def read_file(self, name: str, file: str) -> str | None:
        result: str | None = await self._ask(str | None, "read_file", name=name, file=file)
        return result

    async def write_files(self, name: str, files: Mapping[str, str]) -> None:
        await self._ask(None, "write_files", name=name, files=files)

    async def start(self, name: str) -> None:
        await self._ask(None, "start", _START_SECONDS, name=name)

    async def restart(self, name: str, not_before: float, grace_seconds: float) -> None:
        await self._end("restart", name, grace_seconds, not_before=not_before + self._clock_ahead())

    async def stop(self, name: str, grace_seconds: float) -> None:
        """Raises HostSilent as soon as the host does not report any more; so does `remove`. The caller can do without
        the host then, while a start has to wait for it."""
        await self._end("stop", name, grace_seconds, while_reporting=True)

    async def remove(self, name: str, grace_seconds: float) -> None:
        await self._end("remove", name, grace_seconds, while_reporting=True)

    async def set_aside(self, name: str, not_before: float, grace_seconds: float) -> None:
        await self._end("set_aside", name, grace_seconds, not_before=not_before + self._clock_ahead())

    async def _end(self, method: str, name: str, grace_seconds: float, **arguments: Any) -> None:
        seconds = grace_seconds + _START_SECONDS + _BESIDES_GRACE_SECONDS
        await self._ask(None, method, seconds, name=name, grace_seconds=grace_seconds, **arguments)

    async def _ask(
        self,
        kind: Any,
        method: str,
        seconds: float = _ANSWER_SECONDS,
        *,
        while_reporting: bool = False,
        **arguments: Any,
    ) -> Any:
        """Return the result of a call. Changes of one node are performed one after another, and reads beside them.
        Calls about jobs wait for none of these.

        :param while_reporting: wait for the answer no longer than the host reports.
        """
        call = Call(
            method=method,
            arguments=msgspec.to_builtins(arguments),
            expires_at=time.time() + self._clock_ahead() + seconds,
            epoch=self._calls.epoch,
            kind=self._kind,
        )
        queue = self._calls.queue(self.name, await asyncio.to_thread(self._report))
        sealed, envelope = seal(queue.public_key, msgspec.json.encode(call))
        node = str(arguments.get("name") or arguments.get("node_id") or _WHOLE_HOST)
        partition = node if method in CHANGING else f"{node} reads"
        if "job_id" in arguments:
            partition = f"{arguments['job_id']} {method}"  # the end of a job must not wait for its begin
        call_id = await asyncio.to_thread(queue.enqueue, partition, sealed)
        try:
            async with asyncio.timeout(seconds):
                answering = queue.answer(call_id)
                answer = await (self._while_reporting(answering) if while_reporting else answering)
        except TimeoutError as error:
            await asyncio.to_thread(queue.cancel, call_id)
            raise HostSilent(f"host {self.name} does not answer within {seconds:g} s") from error
        return decode_answer(envelope.open_answer(answer)).value(kind)

    async def _while_reporting(self, answering: Coroutine[Any, Any, str]) -> str:
        """Wait for the encrypted answer. Raises HostSilent when the host does not report any more."""
        waiting = asyncio.create_task(answering)
        try:
            while not (await asyncio.wait({waiting}, timeout=_LOOK_SECONDS))[0]:
                await asyncio.to_thread(self._report)
            return waiting.result()
        finally:
            waiting.cancel()


class RemoteHost(RemoteProcesses):
    """The methods of `Host` that concern one node or port of a host with an agent."""

    async def create_folder(self, node_id: str, folder: str) -> None:
        await self._ask(None, "create_folder", node_id=node_id, folder=folder)

    async def exchange_folder(self, node_id: str, folder: str, *, new: str, former: str, grace_seconds: float) -> None:
        arguments: dict[str, Any] = {"folder": folder, "new": new, "former": former, "grace_seconds": grace_seconds}
        seconds = grace_seconds + _START_SECONDS
        await self._ask(None, "exchange_folder", seconds, while_reporting=True, node_id=node_id, **arguments)

    async def bring_back_folder(self, node_id: str, folder: str, *, former: str, grace_seconds: float) -> None:
        arguments: dict[str, Any] = {"folder": folder, "former": former, "grace_seconds": grace_seconds}
        seconds = grace_seconds + _START_SECONDS
        await self._ask(None, "bring_back_folder", seconds, while_reporting=True, node_id=node_id, **arguments)

    async def delete_folders(self, node_id: str, *folders: str) -> None:
        for folder in folders:
            arguments: dict[str, Any] = {"node_id": node_id, "folder": folder}
            await self._ask(None, "delete_folder", _START_SECONDS, while_reporting=True, **arguments)

    async def begin_job(self, node_id: str, job_id: str, job: Mapping[str, Any]) -> None:
        await self._ask(None, "begin_job", node_id=node_id, job_id=job_id, job=job)

    async def perform_job(self, node_id: str, job_id: str, job: Mapping[str, Any], within: float) -> JobState:
        arguments: dict[str, Any] = {"job_id": job_id, "job": job, "within": within}
        answer = within + _ANSWER_SECONDS
        result: JobState = await self._ask(JobState, "perform_job", answer, node_id=node_id, **arguments)
        return result

    async def job_state(self, node_id: str, job_id: str, known_stage: str, within: float) -> JobState | None:
        arguments: dict[str, Any] = {"job_id": job_id, "known_stage": known_stage, "within": within}
        answer = within + _ANSWER_SECONDS
        result: JobState | None = await self._ask(JobState | None, "job_state", answer, node_id=node_id, **arguments)
        return result

    async def steer_job(
        self, node_id: str, job_id: str, orders: Mapping[str, Any], known_stage: str, within: float
    ) -> JobState | None:
        arguments: dict[str, Any] = {"job_id": job_id, "orders": orders, "known_stage": known_stage, "within": within}
        answer = within + ORDER_SECONDS
        result: JobState | None = await self._ask(JobState | None, "steer_job", answer, node_id=node_id, **arguments)
        return result

    async def release_job(self, node_id: str, job_id: str, offset: int) -> JobState | None:
        result: JobState | None = await self._ask(
            JobState | None, "release_job", _START_SECONDS, node_id=node_id, job_id=job_id, offset=offset
        )
        return result

    async def end_job(self, node_id: str, job_id: str) -> None:
        await self._ask(None, "end_job", while_reporting=True, node_id=node_id, job_id=job_id)

    async def read_log(self, node_id: str, after: LogPosition | None) -> LogPart:
        result: LogPart = await self._ask(LogPart, "read_log", node_id=node_id, after=after)
        return result

    async def children(self, node_id: str) -> Sequence[ChildProcess]:
        result: Sequence[ChildProcess] = await self._ask(list[ChildProcess], "children", node_id=node_id)
        return result

    async def end_child(self, node_id: str, child: ChildProcess, grace_seconds: float) -> bool:
        seconds = grace_seconds + _BESIDES_GRACE_SECONDS
        result: bool = await self._ask(
            bool, "end_child", seconds, node_id=node_id, child=child, grace_seconds=grace_seconds
        )
        return result

    def find_ports(self, address: str, count: int, taken: Set[int], *, tls: bool) -> list[NodePorts]:
        asked = self._ask(list[NodePorts], "find_ports", address=address, count=count, taken=sorted(taken), tls=tls)
        result: list[NodePorts] = asyncio.run(asked)
        return result

    def is_port_free(self, address: str, port: int) -> bool:
        result: bool = asyncio.run(self._ask(bool, "is_port_free", address=address, port=port))
        return result
