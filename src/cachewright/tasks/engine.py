"""Runs plans durably, on DBOS.

One workflow runs all kinds of tasks (`run.py`). The queue is partitioned by instance and runs one workflow per
partition, so two tasks never change one instance at the same time.

DBOS keeps its functions in a process-wide registry, so there is one engine in a process, and the workflow finds it
in `_engine`.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence

from dbos import DBOS, DBOSConfig

from cachewright.concurrency import end_tasks
from cachewright.errors import DatabaseUnavailable
from cachewright.logs import about
from cachewright.model.tasks import ENDED, Task
from cachewright.store import tasks as stored
from cachewright.store.database import Database
from cachewright.store.workflow_runs import ENDED as ENDED_RUNS
from cachewright.store.workflow_runs import forget_ended
from cachewright.store.workflow_values import restrict_dbos
from cachewright.tasks.feed import TaskFeed
from cachewright.tasks.operation import Operation
from cachewright.tasks.queue import WakeableQueue
from cachewright.tasks.recorder import KEEP_SECONDS, TaskRecorder
from cachewright.tasks.run import TaskRun

log = logging.getLogger(__name__)

QUEUE = "instances"
APPLICATION = "cachewright"
"""Name of the application in DBOS's tables."""
WORKFLOW_VERSION = "1"
"""Version of the workflow. DBOS resumes only workflows of this version: keep it while the code can run old ones."""

IDLE_TRANSACTION_SECONDS = 10.0
"""As in the sessions of the store: a frozen process must not hold locks forever."""

_KEPT_PER_SECOND = 200.0
"""Writes of counters of all tasks. More would take the time of the only writer from requests, and from begins and ends
of sub-steps."""

_RECOVERIES = 1_000_000
_DELETED_PER_BATCH = 500
_engine: "Engine | None" = None


def keep_seconds(tasks: int) -> float:
    """Return the pause between two writes of the counters of a task, while so many tasks run."""
    return max(KEEP_SECONDS, tasks / _KEPT_PER_SECOND)


class Engine:
    def __init__(
        self,
        database: Database,
        operations: Mapping[str, Operation],
        feed: TaskFeed,
        *,
        queue_polling: bool = False,
        queues: Sequence[str] = (QUEUE,),
    ) -> None:
        """:param operations: operations by kind.
        :param feed: gets every change of a running task.
        :param queue_polling: let DBOS poll its queues.
        :param queues: the queues of this process; those of agents are not among them.
        """
        self.database = database
        self.feed = feed
        self.operations = operations
        self._running: set[str] = set()
        self._orphaned: set[str] = set()
        self._queues = queues
        self._queue = WakeableQueue(QUEUE, polling=queue_polling)

    def start(self) -> DBOS:
        """Start DBOS and resume unfinished tasks. Afterwards, tasks can be enqueued."""
        global _engine  # noqa: PLW0603  # see the module's docstring
        _engine = self
        config: DBOSConfig = {
            "name": APPLICATION,
            "system_database_url": self.database.workflow_url,
            "application_version": WORKFLOW_VERSION,
            "executor_id": "local",
            "console_log_level": "CRITICAL",  # failures are logged here, with ids of the task
            "notification_listener_polling_interval_sec": 0.25,
            "sys_db_idle_transaction_timeout_sec": IDLE_TRANSACTION_SECONDS,
        }
        if self.database.workflow_options:
            config["db_engine_kwargs"] = {"connect_args": dict(self.database.workflow_options)}
        restrict_dbos()
        dbos = DBOS(config=config)
        DBOS.listen_queues(self._queues if self._queue.polling else [])
        DBOS.launch()
        self._queue.start(dbos)
        self.resume_orphans()
        return dbos

    def performs(self, task_id: str) -> bool:
        """Whether a run of the task is in this process."""
        return task_id in self._running

    def resume_orphans(self) -> None:
        """Enqueue unfinished tasks that have no workflow: it was never enqueued, or ended because the database was
        unavailable. Called every few seconds."""
        with self.database.read() as connection:
            unfinished = [task for task in stored.active(connection) if task.id not in self._running]
        if not unfinished:
            self._orphaned = set()
            return
        runs = DBOS.list_workflows(
            workflow_ids=[task.run_id for task in unfinished], load_input=False, load_output=False
        )
        statuses = {run.workflow_id: run.status for run in runs}
        orphaned = set()
        for task in unfinished:
            status = statuses.get(task.run_id)
            if status is None:
                self.enqueue(task)
            elif status in ENDED_RUNS:
                log.warning("task %s of instance %s: run was interrupted; resuming", task.id, task.instance_id)
                DBOS.rewind_workflow(task.run_id, queue_name=QUEUE, queue_partition_key=task.instance_id)
                self._queue.wake()
            elif status == "PENDING" and task.id in self._orphaned:
                log.warning("task %s of instance %s: orphaned run; resuming", task.id, task.instance_id)
                DBOS.resume_workflow(task.run_id, queue_name=QUEUE)
                self._queue.wake()
            elif status == "PENDING":
                orphaned.add(task.id)
        self._orphaned = orphaned

    def forget(self, ended_before: int) -> None:
        """Delete tasks that ended before `ended_before` (epoch milliseconds), and DBOS's records of finished runs, in
        small batches."""
        while True:
            with self.database.write() as connection:
                if stored.purge(connection, ended_before, _DELETED_PER_BATCH) < _DELETED_PER_BATCH:
                    break
        forget_ended(DBOS.list_workflows, DBOS.delete_workflows)

    def enqueue(self, task: Task) -> None:
        """Enqueue a stored task behind the others of its instance, unless it is enqueued already. While the database is
        unavailable the task stays stored, and `resume_orphans` enqueues it later: it is no failure of the request. A
        scheduled task is enqueued when it may begin."""
        if task.is_scheduled:
            return
        try:
            self._queue.enqueue(task.run_id, task.instance_id, run_task, task.id)
        except DatabaseUnavailable as error:
            log.warning("task %s of instance %s is enqueued later: %s", task.id, task.instance_id, error)

    def stop(self) -> None:
        """Stop the engine. Running tasks resume at the next start."""
        self._queue.stop()
        DBOS.destroy(workflow_completion_timeout_sec=0)

    async def run(self, task_id: str) -> None:
        with self._queue.running():
            await self._run_unless_ended(task_id)

    async def _run_unless_ended(self, task_id: str) -> None:
        recorder = await TaskRecorder.load(self.database, task_id, self.feed.publish)
        if recorder.task.status in ENDED:
            return
        with about(task_id=task_id, instance_id=recorder.task.instance_id):
            await self._run(recorder)

    async def _run(self, recorder: TaskRecorder) -> None:
        task = recorder.task
        self._running.add(task.id)
        keeper = asyncio.create_task(recorder.keep(lambda: keep_seconds(len(self._running))))
        try:
            await TaskRun(self.database, self.operations[task.kind], recorder).perform()
        finally:
            await end_tasks(keeper)  # the run gets the same error
            self._running.remove(task.id)


@DBOS.workflow(name="run_task", max_recovery_attempts=_RECOVERIES)
async def run_task(task_id: str) -> None:
    assert _engine is not None  # noqa: S101  # the engine registers itself before it starts DBOS
    await _engine.run(task_id)
